"""What reading the writing in pictures brings and costs.

    python benchmarks/ocr.py [gain|errors|photographs ...] [--pages 24] [--seed 1]

`gain` renders pages, receipts and screens with made-up wording, indexes them with the embedded model with
and without a reader, and asks for a phrase of each. `errors` is the share of letters read wrongly by the
size of print and by what happened to the page. `photographs` is what a picture without writing costs.
"""

import argparse
import random
import time
from difflib import SequenceMatcher
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from langchain_mmrag import MultimodalChroma, OpenCLIPEmbeddings
from langchain_mmrag.document_loaders import ImageLoader
from langchain_mmrag.document_loaders.ocr import RapidOCRReader

KINDS = ("page", "receipt", "screen")
SYLLABLES = ("ba", "cor", "del", "fen", "gri", "hal", "jun", "kel", "lom", "mar", "nor", "pel", "quin", "ros")
COMMON = ("the", "pump", "of", "a", "valve", "was", "checked", "by", "our", "team", "on", "next", "week")


def name(rng: random.Random) -> str:
    return "".join(rng.sample(SYLLABLES, 3)).capitalize()


def sentence(rng: random.Random) -> str:
    words = [*rng.choices(COMMON, k=6), name(rng), *rng.choices(COMMON, k=2)]
    return " ".join(words).capitalize() + "."


def written(kind: str, rng: random.Random) -> tuple[list[str], str]:
    """Lines of a document, and a phrase of it that stands in no other."""
    if kind == "receipt":
        lines = [f"{name(rng)} {name(rng)} {rng.randint(1, 99)}.{rng.randint(10, 99)}" for _ in range(8)]
    elif kind == "screen":
        lines = [f"{name(rng)}: {sentence(rng)}" for _ in range(8)]
    else:
        lines = [sentence(rng) for _ in range(14)]
    return lines, " ".join(rng.choice(lines).split()[:9])


def drawn(lines: list[str], kind: str = "page", size: int = 18) -> Image.Image:
    sizes = {"page": (900, 1200), "receipt": (420, 560), "screen": (1100, 700)}
    ground, ink = ("#1e2430", "#e8e8e8") if kind == "screen" else ("white", "black")
    image = Image.new("RGB", sizes[kind], ground)
    font = ImageFont.load_default(size)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((40, 40 + number * round(size * 1.6)), line, font=font, fill=ink)
    return image


def error_rate(expected: list[str], got: list[str]) -> float:
    """Share of letters that are wrong or missing, by the longest common blocks."""
    one, other = "\n".join(expected), "\n".join(got)
    same = sum(
        block.size for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    )
    return 1 - same / max(len(one), len(other), 1)


def gain(reader: RapidOCRReader, pages: int, seed: int) -> None:
    rng = random.Random(seed)
    embedding = OpenCLIPEmbeddings("mmrag-tiny")
    asked: list[tuple[str, str]] = []
    with TemporaryDirectory() as folder:
        for number in range(pages):
            kind = KINDS[number % len(KINDS)]
            lines, phrase = written(kind, rng)
            path = Path(folder, f"{number}.png")
            drawn(lines, kind).save(path)
            asked.append((phrase, str(path)))
        for title, ocr in (("without a reader", None), ("with a reader", reader)):
            documents = [found for _, path in asked for found in ImageLoader(path, ocr=ocr).load()]
            store = MultimodalChroma(f"ocr-{uuid4()}", embedding)
            store.add_documents(documents)
            for mode in ("vector", "hybrid"):
                ranks = [rank(store, phrase, path, mode) for phrase, path in asked]
                recalls = [float(np.mean([place < k for place in ranks])) for k in (1, 5)]
                print(f"{title:18} {mode:8} recall@1 {recalls[0]:.3f}  recall@5 {recalls[1]:.3f}")


def rank(store: MultimodalChroma, phrase: str, path: str, mode: str) -> int:
    found = store.similarity_search(phrase, k=10, search=mode)
    hits = list(dict.fromkeys(hit.metadata["source"] for hit in found))
    return hits.index(path) if path in hits else len(hits) + 10


def errors(reader: RapidOCRReader, pages: int, seed: int) -> None:
    rng = random.Random(seed)
    noise = np.random.default_rng(seed)
    lines = [sentence(rng) for _ in range(max(4, pages // 3))]
    blurred = drawn(lines, size=18).filter(ImageFilter.GaussianBlur(1.5))
    grainy = np.asarray(drawn(lines, size=18), dtype=float) * 0.8 + noise.normal(20, 15, (1200, 900, 1))
    pictures = {f"{size} px": drawn(lines, size=size) for size in (8, 10, 12, 16, 24)} | {
        "18 px, out of focus": blurred,
        "18 px, grain": Image.fromarray(grainy.clip(0, 255).astype(np.uint8)),
        "18 px, turned by 3": drawn(lines).rotate(3, Image.Resampling.BICUBIC, fillcolor="white"),
        "18 px, on its side": drawn(lines).rotate(90, expand=True),
    }
    for title, picture in pictures.items():
        start = time.perf_counter()
        got = [line.text for line in reader.read(picture)]
        ms = 1000 * (time.perf_counter() - start)
        print(f"{title:22} letters wrong {error_rate(lines, got):6.1%}  {ms:6.0f} ms")


def photographs(reader: RapidOCRReader, pages: int, seed: int) -> None:
    noise = np.random.default_rng(seed)
    times, found = [], 0
    for _ in range(max(3, pages // 3)):
        coarse = noise.integers(0, 255, (36, 48, 3), dtype=np.uint8)
        grain = noise.normal(0, 5, (1200, 1600, 1))
        smooth = np.asarray(
            Image.fromarray(coarse).resize((1600, 1200), Image.Resampling.BICUBIC), dtype=float
        )
        picture = Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))
        start = time.perf_counter()
        found += len(reader.read(picture))
        times.append(1000 * (time.perf_counter() - start))
    print(
        f"1600x1200 without writing: median {np.median(times):.0f} ms, {found} lines seen that are not there"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parts = {"gain": gain, "errors": errors, "photographs": photographs}
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}; all by default")
    parser.add_argument("--pages", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    reader = RapidOCRReader()
    reader.read(drawn(["warm"], size=24))
    for part in options.parts or parts:
        print(f"\n{part}")
        parts[part](reader, options.pages, options.seed)


if __name__ == "__main__":
    main()
