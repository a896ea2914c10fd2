"""Shared by the tests of prompts, chains and tools: real files, real documents, a retriever, a recorded model."""

import base64
import io
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatResult
from langchain_core.retrievers import BaseRetriever
from PIL import Image
from pydantic import Field


def picture_file(path, color="red", size=(40, 20), **save_options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **save_options)
    return path


def picture(path, text="", **metadata):
    return Document(page_content=text, metadata={"modality": "image", "source": str(path), **metadata})


def note(text, source="notes.md", **metadata):
    return Document(page_content=text, metadata={"source": source, **metadata})


def decoded(block):
    return Image.open(io.BytesIO(base64.b64decode(block["base64"])))


def texts(blocks):
    return [block["text"] for block in blocks if block["type"] == "text"]


def pictures(blocks):
    return [block for block in blocks if block["type"] == "image"]


class ShelfRetriever(BaseRetriever):
    """Gives its documents in order and notes what it was asked."""

    documents: list[Document]
    k: int = 4
    asked: list[Any] = Field(default_factory=list)

    def _get_relevant_documents(
        self, query: Any, *, run_manager: Any, k: int | None = None
    ) -> list[Document]:
        self.asked.append(query)
        return self.documents[: k or self.k]


class SortingRetriever(ShelfRetriever):
    """A retriever that looks in one modality if told to."""

    def _get_relevant_documents(
        self, query: Any, *, run_manager: Any, k: int | None = None, modality: str | None = None
    ) -> list[Document]:
        self.asked.append((query, modality))
        fitting = [d for d in self.documents if modality in {None, d.metadata.get("modality", "text")}]
        return fitting[: k or self.k]


class RecordedModel(GenericFakeChatModel):
    """LangChain's scripted chat model; keeps the messages of every call and takes tools."""

    calls: list[list[BaseMessage]] = Field(default_factory=list)

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.calls.append(messages)
        return super()._generate(messages, *args, **kwargs)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def model(*answers, **fields):
    messages = [answer if isinstance(answer, AIMessage) else AIMessage(answer) for answer in answers]
    return RecordedModel(messages=iter(messages), **fields)
