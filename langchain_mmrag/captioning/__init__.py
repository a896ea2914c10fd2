"""Pictures become words when they are indexed: the "vision to text" pattern.

    documents ──► CaptionTransformer ──► the same documents, with `caption` beside each picture
                    │       ▲
                    ▼       │ what is known already
                 captioner  cache (SQLite)

A caption makes a picture findable by what it says and means in words, beside what it looks like, and readable
by a chat model that takes no pictures. It stands beside the picture, never instead of it.

Captioners: any LangChain chat model that sees (`ChatModelCaptioner`), and models on this machine: BLIP and
BLIP-2 (`BlipCaptioner`), CoCa (`CoCaCaptioner`). Another one writes a `fingerprint` and `caption`.
"""

from langchain_mmrag.captioning.base import ImageCaptioner
from langchain_mmrag.captioning.blip import BlipCaptioner
from langchain_mmrag.captioning.chat_model import ChatModelCaptioner
from langchain_mmrag.captioning.coca import CoCaCaptioner
from langchain_mmrag.captioning.named import captioner_named
from langchain_mmrag.captioning.transformer import CaptionFailure, CaptionReport, CaptionTransformer

__all__ = [
    "BlipCaptioner",
    "CaptionFailure",
    "CaptionReport",
    "CaptionTransformer",
    "ChatModelCaptioner",
    "CoCaCaptioner",
    "ImageCaptioner",
    "captioner_named",
]
