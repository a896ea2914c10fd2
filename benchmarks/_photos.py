"""Photographs and captions for benchmarks: drawn by a seed, with the detail and size of real ones."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SMALL = ((500, 375), (500, 333), (375, 500), (500, 400), (480, 360))
LARGE = ((4000, 3000), (4032, 3024), (3000, 4000))

THINGS = (
    "dog",
    "cat",
    "boat",
    "lamp",
    "tree",
    "bicycle",
    "train",
    "horse",
    "kite",
    "bridge",
    "cake",
    "umbrella",
)
LOOKS = ("small", "red", "old", "wooden", "bright", "blue", "striped", "rusty", "white", "huge")
ACTS = ("standing", "sitting", "lying", "waiting", "parked", "left")
PLACES = ("near the river", "on a beach", "in the street", "under a tree", "beside a wall", "at the station")
TIMES = ("", "", " at night", " in the rain", " on a sunny day")


def captions(count: int, seed: int = 0) -> list[str]:
    """Captions of a small grammar: 42 characters, some 11 tokens on average."""
    rng = np.random.default_rng(seed)

    def of(words: tuple[str, ...]) -> str:
        return str(rng.choice(words))

    return [
        f"a {of(LOOKS)} {of(THINGS)} {of(ACTS)} {of(PLACES)}{of(TIMES)}"
        if rng.random() < 0.7
        else f"two {of(THINGS)}s and a {of(LOOKS)} {of(THINGS)}{of(TIMES)}"
        for _ in range(count)
    ]


def photograph(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Clouds of color in many octaves, hard edges, writing, and the grain of a sensor."""
    width, height = size
    canvas = np.full((height, width, 3), 127, dtype=np.float32)
    cells, strength = 4, 60.0
    while cells < max(size) / 4:
        cloud = rng.integers(0, 256, (cells * height // width + 2, cells + 2, 3), dtype=np.uint8)
        grown = Image.fromarray(cloud).resize(size, Image.Resampling.BICUBIC)
        canvas += (np.asarray(grown, dtype=np.float32) / 127.5 - 1) * strength
        cells, strength = cells * 3, strength * 0.62
    image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(width // 20, width // 4), rng.integers(height // 20, height // 4)
        color = tuple(int(value) for value in rng.integers(0, 256, 3))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x, y, x + w, y + h), fill=color)
        draw.text(
            (x, y), "Station 7", fill=tuple(255 - value for value in color), font_size=max(12, height // 25)
        )
    grain = rng.integers(-5, 6, (height, width, 1), dtype=np.int16)
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def photographs(folder: Path, sizes: tuple[tuple[int, int], ...], count: int) -> list[str]:
    """Paths of `count` JPEG files of these sizes in turn, drawn unless they are there from before."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        size = sizes[number % len(sizes)]
        path = folder / f"{size[0]}x{size[1]}_{number}.jpg"
        if not path.exists():
            photograph(size, np.random.default_rng([number, *size])).save(path, quality=90)
        paths.append(str(path))
    return paths
