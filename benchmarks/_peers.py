"""The packages that embed pictures and texts with CLIP, used as their users would, with the same weights.

A peer takes paths of pictures or texts and gives unit vectors. It is loaded when it is made.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from _weights import CONTEXT, MODEL, SIDE, TAG, Files
from PIL import Image

BASELINE = "langchain-experimental"
OURS = "langchain-mmrag"
IMAGES_AT_ONCE, TEXTS_AT_ONCE = 16, 64
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)  # of CLIP's training pictures
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)


class Peer(Protocol):
    """A package, loaded."""

    def images(self, paths: list[str]) -> Any: ...

    def texts(self, texts: list[str]) -> Any: ...


class Ours:
    """This package."""

    def __init__(self, **settings: Any) -> None:
        from langchain_mmrag.embeddings import OpenCLIPEmbeddings

        self.clip = OpenCLIPEmbeddings(MODEL, TAG, device="cpu", show_progress=False, **settings)
        self.images, self.texts = self.clip.embed_image, self.clip.embed_documents


class LangChainExperimental:
    """One item a call, texts padded to the whole context, gradients on."""

    def __init__(self) -> None:
        from langchain_experimental.open_clip import OpenCLIPEmbeddings

        self.clip = OpenCLIPEmbeddings(model_name=MODEL, checkpoint=TAG)
        self.images, self.texts = self.clip.embed_image, self.clip.embed_documents


class Chroma:
    """Chroma's function for OpenCLIP, with its loader of pictures."""

    def __init__(self) -> None:
        from chromadb.utils.data_loaders import ImageLoader
        from chromadb.utils.embedding_functions import OpenCLIPEmbeddingFunction

        self.texts, self.load = OpenCLIPEmbeddingFunction(MODEL, TAG), ImageLoader()

    def images(self, paths: list[str]) -> Any:
        return self.texts(self.load(paths))


class ByHand:
    """open_clip in a loop of one's own: batches, no gradients, texts padded by the tokenizer."""

    def __init__(self, *, bf16: bool = False) -> None:
        import open_clip
        import torch

        self.torch, self.type = torch, torch.bfloat16 if bf16 else torch.float32
        model, _, self.preprocess = open_clip.create_model_and_transforms(MODEL, pretrained=TAG)
        self.model, self.tokenizer = model.to(self.type).eval(), open_clip.get_tokenizer(MODEL)

    def images(self, paths: list[str]) -> np.ndarray:
        def vectors(batch: list[str]) -> Any:
            pixels = self.torch.stack([self.preprocess(Image.open(path)) for path in batch])
            return self.model.encode_image(pixels.to(self.type))

        with self.torch.inference_mode():
            return unit(vectors(batch).float().numpy() for batch in batches(paths, IMAGES_AT_ONCE))

    def texts(self, texts: list[str]) -> np.ndarray:
        with self.torch.inference_mode():
            return unit(
                self.model.encode_text(self.tokenizer(batch)).float().numpy()
                for batch in batches(texts, TEXTS_AT_ONCE)
            )


class SentenceTransformers:
    """Batches, texts sorted by length and padded to the longest."""

    def __init__(self, files: Files) -> None:
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(str(files.transformers), device="cpu", local_files_only=True)

    def images(self, paths: list[str]) -> np.ndarray:
        pictures = [Image.open(path) for path in paths]
        return self.model.encode(pictures, batch_size=IMAGES_AT_ONCE, normalize_embeddings=True)

    def texts(self, texts: list[str]) -> np.ndarray:
        return self.model.encode(texts, batch_size=TEXTS_AT_ONCE, normalize_embeddings=True)


class Graph:
    """A runtime on exported towers, fed with as much care: texts sorted, cut to the longest of a batch.

    fastembed runs such graphs; it fetches its models from a hub, so its runtime stands here for it.
    """

    def __init__(self, files: Files, threads: int, scaled: bool = False) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(files.tokenizer))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(CONTEXT)
        self.files, self.threads, self.scaled = files, threads, scaled
        self.towers: dict[str, Callable[[np.ndarray], np.ndarray]] = {}

    def compiled(self, path: str) -> Callable[[np.ndarray], np.ndarray]:
        raise NotImplementedError

    def tower(self, path: Any) -> Callable[[np.ndarray], np.ndarray]:
        if path not in self.towers:
            self.towers[path] = self.compiled(str(path))
        return self.towers[path]

    def images(self, paths: list[str]) -> np.ndarray:
        run = self.tower(self.files.visual)
        at_once = (
            [pixels(path, scaled=self.scaled) for path in batch] for batch in batches(paths, IMAGES_AT_ONCE)
        )
        return unit(run(np.stack(batch)) for batch in at_once)

    def texts(self, texts: list[str]) -> np.ndarray:
        run = self.tower(self.files.text)
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
        found = unit(run(padded([ids[row] for row in batch])) for batch in batches(order, TEXTS_AT_ONCE))
        vectors = np.empty_like(found)
        vectors[order] = found
        return vectors


class OnnxRuntime(Graph):
    def compiled(self, path: str) -> Callable[[np.ndarray], np.ndarray]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda given: session.run(None, {"given": given})[0]


class OpenVino(Graph):
    precision = "f32"

    def compiled(self, path: str) -> Callable[[np.ndarray], np.ndarray]:
        import openvino

        hints = {"INFERENCE_PRECISION_HINT": self.precision, "INFERENCE_NUM_THREADS": self.threads}
        model = openvino.Core().compile_model(path, "CPU", hints)
        return lambda given: np.asarray(model(given)[0], dtype=np.float32)


class OpenVinoBf16(OpenVino):
    precision = "bf16"


# What each is called in the tables, how it is made, and what it multiplies in.
FP32: dict[str, Callable[[Files, int], Peer]] = {
    BASELINE: lambda _files, _threads: LangChainExperimental(),
    "chromadb": lambda _files, _threads: Chroma(),
    "open_clip by hand": lambda _files, _threads: ByHand(),
    "sentence-transformers": lambda files, _threads: SentenceTransformers(files),
    "ONNX Runtime": OnnxRuntime,
    "OpenVINO": OpenVino,
    OURS: lambda _files, _threads: Ours(),
}
BF16: dict[str, Callable[[Files, int], Peer]] = {
    "open_clip by hand, bf16": lambda _files, _threads: ByHand(bf16=True),
    "OpenVINO, bf16": OpenVinoBf16,
    f"{OURS}, bf16": lambda _files, _threads: Ours(precision="bf16"),
}
# These spend the same on every text.
PADDED = (BASELINE, "chromadb", "open_clip by hand", "open_clip by hand, bf16")


def batches(items: Sequence, size: int) -> Iterator[list]:
    return (list(items[start : start + size]) for start in range(0, len(items), size))


def unit(blocks: Iterable[np.ndarray]) -> np.ndarray:
    vectors = np.concatenate(list(blocks))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def padded(ids: list[list[int]]) -> np.ndarray:
    """Rows of tokens, zeros after the end."""
    rows = np.zeros((len(ids), max(map(len, ids))), dtype=np.int64)
    for row, of_text in zip(rows, ids, strict=True):
        row[: len(of_text)] = of_text
    return rows


def pixels(path: str, *, scaled: bool = False) -> np.ndarray:
    """A picture as CLIP takes it [3, S, S]: shorter side to S, the middle, normalised.

    Args:
        path: Of the file.
        scaled: Decode a JPEG at half, a quarter or an eighth of its size where twice S is left.
    """
    image = Image.open(path)
    if scaled:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
    image = image.convert("RGB")
    width, height = image.size
    factor = SIDE / min(width, height)
    image = image.resize(
        (max(SIDE, int(width * factor)), max(SIDE, int(height * factor))), Image.Resampling.BICUBIC
    )
    left, top = round((image.width - SIDE) / 2), round((image.height - SIDE) / 2)
    values = np.asarray(image.crop((left, top, left + SIDE, top + SIDE)), dtype=np.float32) / 255
    return np.ascontiguousarray(((values - MEAN) / DEVIATION).transpose(2, 0, 1))
