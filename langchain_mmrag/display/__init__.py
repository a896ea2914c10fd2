"""Look at what was found: a page, an output in a notebook, figures."""

from langchain_mmrag.display.notebook import Shown, load_ipython_extension, show, unload_ipython_extension
from langchain_mmrag.display.page import Section, hits_html, page_html
from langchain_mmrag.display.parts import Hit

__all__ = [
    "Hit",
    "Section",
    "Shown",
    "hits_html",
    "load_ipython_extension",
    "page_html",
    "show",
    "unload_ipython_extension",
]
