"""Ratios of embedding speed, side by side in one run: `make bench`.

Each round times every way once, in turn, in CPU seconds of this process; a ratio is the median over rounds
of "one by one" divided by the way. One by one is what OpenCLIP wrappers commonly do: one item a call, text
padded to the whole context. Ratios nearer than 15 % to each other are ties.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from PIL import Image

from langchain_mmrag.embeddings import OpenCLIPEmbeddings

WORDS = ("red", "blue", "old", "small", "boat", "dog", "harbour", "tree", "two", "lamp", "near", "the", "a")


def captions(rng: np.random.Generator, count: int) -> list[str]:
    return [" ".join(rng.choice(WORDS, rng.integers(3, 14))) for _ in range(count)]


def pictures(rng: np.random.Generator, count: int) -> list[Image.Image]:
    small = rng.integers(0, 255, (count, 24, 32, 3), dtype=np.uint8)
    return [Image.fromarray(cells).resize((500, 375), Image.Resampling.BICUBIC) for cells in small]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mmrag-tiny")
    parser.add_argument("--checkpoint", default=None)
    parser.add_argument("--items", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    texts, images = captions(rng, options.items), pictures(rng, options.items)
    clip = OpenCLIPEmbeddings(options.model, options.checkpoint, show_progress=False)
    loaded = clip._ready()  # noqa: SLF001  the same weights for both ways
    model, preprocess, tokenizer = loaded.model, loaded.preprocess, loaded.tokenizer

    def texts_one_by_one() -> None:
        for text in texts:
            model.encode_text(tokenizer([text]))

    def images_one_by_one() -> None:
        for image in images:
            model.encode_image(preprocess(image)[None])

    ways = {
        "texts, one by one": texts_one_by_one,
        "texts, embed_documents": lambda: clip.embed_documents(texts),
        "images, one by one": images_one_by_one,
        "images, embed_image": lambda: clip.embed_image(images),
    }
    spent = {name: [] for name in ways}
    for number in range(options.rounds + 1):
        for name, way in ways.items():
            started = time.process_time()
            way()
            if number:  # the first round warms up
                spent[name].append(time.process_time() - started)
    print(f"{options.model}, {options.items} items, {options.rounds} rounds, 1 thread")
    for name, times in spent.items():
        base = spent[f"{name.split(',', maxsplit=1)[0]}, one by one"]
        ratio = statistics.median(b / t for b, t in zip(base, times, strict=True))
        print(f"{name:24} {1000 * statistics.median(times) / options.items:8.2f} ms/item   {ratio:5.2f}x")


if __name__ == "__main__":
    main()
