"""Look at what was found: a page, an output in a notebook, figures.

page.py       hits_html, page_html: a page of its own
notebook.py   show: an output in a notebook, text in a terminal
figures.py    similarity_heatmap
maps.py       collection_map (planes.py: what it shows, drawing.py: how)
"""

from langchain_mmrag.display.figures import similarity_heatmap
from langchain_mmrag.display.maps import collection_map
from langchain_mmrag.display.notebook import Shown, load_ipython_extension, show, unload_ipython_extension
from langchain_mmrag.display.page import Section, hits_html, page_html
from langchain_mmrag.display.parts import Hit

__all__ = [
    "Hit",
    "Section",
    "Shown",
    "collection_map",
    "hits_html",
    "load_ipython_extension",
    "page_html",
    "show",
    "similarity_heatmap",
    "unload_ipython_extension",
]
