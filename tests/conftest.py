"""Parts shared by the tests: a real open_clip model with random weights, pictures, and an embedding that counts."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from langchain_mmrag.embeddings.base import MultimodalEmbeddings

TINY_CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
}

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}


def save_clip(folder: Path, config: dict = TINY_CONFIG, seed: int = 0) -> Path:
    """Write a random-weight open_clip model as open_clip's `local-dir:` schema reads it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """What the package keeps in the user's cache folder goes elsewhere, also that of commands run by tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANGCHAIN_MMRAG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_clip_dir(tmp_path_factory) -> Path:
    """Folder of a small open_clip model (16 numbers, 32 pixels, 77 tokens) with random weights."""
    return save_clip(tmp_path_factory.mktemp("tiny_clip"))


@pytest.fixture(scope="session")
def clip(tiny_clip_dir):
    """`OpenCLIPEmbeddings` on `tiny_clip_dir`; shared by all tests, so do not change it."""
    from langchain_mmrag.embeddings import OpenCLIPEmbeddings

    return OpenCLIPEmbeddings(model_name=f"local-dir:{tiny_clip_dir}", device="cpu", show_progress=False)


@pytest.fixture
def sample_images(tmp_path) -> dict[str, Path]:
    """Files by name: red, green and blue (PNG, 40x30), noise (JPEG, 200x120) and gradient (PNG, 64x64)."""
    folder = tmp_path / "images"
    folder.mkdir()
    pictures = {f"{name}.png": Image.new("RGB", (40, 30), COLOURS[name]) for name in ("red", "green", "blue")}
    noise = np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8)
    pictures["noise.jpg"] = Image.fromarray(noise)
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    pictures["gradient.png"] = Image.fromarray(np.stack([np.tile(ramp, (64, 1))] * 3, axis=-1))
    for name, picture in pictures.items():
        picture.save(folder / name)
    return {Path(name).stem: folder / name for name in pictures}


class CountingEmbeddings(MultimodalEmbeddings):
    """An embedding that knows colours, and how often and with how many inputs it was called.

    "red" and a red picture have close vectors, with a gap between the modalities as CLIP has it; other words give
    each its own direction. `text_batches` and `image_batches` hold the size of each batch.
    """

    DIMENSION = 16

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.text_batches: list[int] = []
        self.image_batches: list[int] = []

    @property
    def fingerprint(self) -> str:
        return "counting:v1"

    def _encode_texts(self, texts):
        self.text_batches.append(len(texts))
        vectors = np.zeros((len(texts), self.DIMENSION))
        vectors[:, 3] = 0.5
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().split():
                if word in COLOURS:
                    row[:3] += np.divide(COLOURS[word], 255)
                else:
                    row[4 + sum(word.encode()) % (self.DIMENSION - 4)] += 0.3
        return vectors

    def _encode_images(self, images):
        self.image_batches.append(len(images))
        vectors = np.zeros((len(images), self.DIMENSION))
        vectors[:, 3] = -0.5
        for row, image in zip(vectors, images, strict=True):
            row[:3] = np.asarray(image.convert("RGB")).mean(axis=(0, 1)) / 255
        return vectors


@pytest.fixture
def counting_embeddings() -> CountingEmbeddings:
    return CountingEmbeddings(show_progress=False)


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def serve_folder():
    """Serve a folder over HTTP on loopback: `serve_folder(path)` gives its address, without a slash at the end."""
    servers = []

    def serve(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()
