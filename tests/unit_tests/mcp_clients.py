"""Shared by the tests of the MCP server: what a result holds, and a search that takes as long as told."""

import base64
import io
import threading

from PIL import Image

from tests.conftest import CountingEmbeddings


def text_of(result):
    return "\n".join(block.text for block in result.content if block.type == "text")


def pictures_of(result):
    return [block for block in result.content if block.type == "image"]


def opened(data):
    return Image.open(io.BytesIO(base64.b64decode(data)))


def same_pixels(data, path):
    """Whether a picture in base64 is the one in a file, whatever format either has."""
    with Image.open(path) as source, opened(data) as shown:
        return shown.size == source.size and shown.convert("RGB").tobytes() == source.convert("RGB").tobytes()


class Waiting(CountingEmbeddings):
    """Embeds the text "wait" once it is let."""

    def __init__(self):
        super().__init__(show_progress=False)
        self.waiting, self.go_on = threading.Event(), threading.Event()

    def _encode_texts(self, texts):
        if "wait" in texts:
            self.waiting.set()
            assert self.go_on.wait(20)
        return super()._encode_texts(texts)
