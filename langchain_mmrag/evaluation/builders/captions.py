"""Pictures with captions, read from the formats of COCO, Flickr30k and Karpathy's splits, and a plain one."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation.dataset import missing_file

CAPTION_FILES: Final = (
    "dataset_coco.json",
    "dataset_flickr30k.json",
    "dataset_flickr8k.json",
    "captions_val2017.json",
    "captions_val2014.json",
    "results_20130124.token",
    "captions.txt",
    "captions.csv",
    "results.csv",
    "captions.json",
)
"""Names by which a folder is known to hold captions, in the order they are looked for."""

_SPLITS: Final = ("train", "restval", "val", "test")
_CONVENTION: Final = 5
_PICTURES: Final = ("", "images", "flickr30k-images", "flickr30k_images", "Images", "val2017", "val2014")


@dataclass(frozen=True)
class CaptionedImage:
    """One picture and what people said of it."""

    id: str
    path: str
    captions: tuple[str, ...]


def read_captions(
    path: str | Path, *, split: str = "test", images: str | Path | None = None
) -> list[CaptionedImage]:
    """Captioned pictures from a file of one of the known formats, or from a folder that holds one.

    Args:
        path: `dataset_coco.json` and the like (Karpathy), COCO's captions JSON, Flickr30k's `.token`, a CSV
            with a heading, or JSON like `[{"file": "a.jpg", "captions": ["a dog"]}]`; or their folder.
        split: Of a Karpathy file.
        images: Folder of the pictures, where it is not found beside the file.

    Raises:
        DatasetError: If the file is none of these, or pictures are missing.
        OSError: If it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        found = captions_file(path)
        if found is None:
            msg = f"{path}: there is no file of captions: expected is one of {', '.join(CAPTION_FILES)}"
            raise DatasetError(msg)
        path = found
    if path.suffix == ".json":
        data = _json(path)
        if isinstance(data, list):
            return read_list(path, images=images)
        karpathy = any("sentences" in row for row in data["images"][:1])
        return read_karpathy(path, split=split, images=images) if karpathy else read_coco(path, images=images)
    return read_flickr30k(path, images=images)


def captions_file(folder: Path) -> Path | None:
    """The file of captions in a folder, if there is one."""
    return next((folder / name for name in CAPTION_FILES if (folder / name).is_file()), None)


def read_list(path: str | Path, *, images: str | Path | None = None) -> list[CaptionedImage]:
    """Captioned pictures from a JSON list of objects with `file` and `captions`; other keys are let be.

    Raises:
        DatasetError: If the file is another, or pictures are missing.
    """
    path = Path(path)
    try:
        named = [
            (row["file"], "", row["file"], [said.strip() for said in row["captions"]]) for row in _json(path)
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise _misformed(path, error, "objects with file and captions, a list of texts") from error
    return _found(path, images, named)


def read_coco(path: str | Path, *, images: str | Path | None = None) -> list[CaptionedImage]:
    """Captioned pictures from COCO's captions JSON, with `images` and `annotations`.

    Raises:
        DatasetError: If the file is another, or pictures are missing.
    """
    path = Path(path)
    data = _json(path)
    try:
        said: dict[Any, list[str]] = {row["id"]: [] for row in data["images"]}
        for row in data["annotations"]:
            said[row["image_id"]].append(row["caption"].strip())
        named = [(str(row["id"]), "", row["file_name"], said[row["id"]]) for row in data["images"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise _misformed(
            path, error, "images[].id, .file_name and annotations[].image_id, .caption"
        ) from error
    return _found(path, images, named)


def read_karpathy(
    path: str | Path, *, split: str = "test", images: str | Path | None = None, per_image: int = _CONVENTION
) -> list[CaptionedImage]:
    """Captioned pictures of one of Karpathy's splits (Karpathy and Fei-Fei 2015).

    Args:
        path: `dataset_coco.json` or `dataset_flickr30k.json`.
        split: `train`, `restval`, `val` or `test`.
        images: Folder of the pictures.
        per_image: How many captions of each picture are taken: by convention the first five.

    Raises:
        DatasetError: If the file is another, has nothing of the split, or pictures are missing.
    """
    path = Path(path)
    data = _json(path)
    try:
        named = [
            (
                str(row.get("cocoid", row.get("imgid", row["filename"]))),
                row.get("filepath", ""),
                row["filename"],
                [sentence["raw"].strip() for sentence in row["sentences"][:per_image]],
            )
            for row in data["images"]
            if row["split"] == split
        ]
        splits = sorted({row["split"] for row in data["images"]})
    except (KeyError, TypeError, AttributeError) as error:
        raise _misformed(path, error, "images[].filename, .split and .sentences[].raw") from error
    if not named:
        msg = f"{path}: nothing is of the split {split!r}: there are {', '.join(splits) or 'none'}"
        raise DatasetError(msg)
    return _found(path, images, named)


def read_flickr30k(path: str | Path, *, images: str | Path | None = None) -> list[CaptionedImage]:
    """Captioned pictures from Flickr30k's `results_20130124.token`, or from a CSV with a heading.

    A line of the first is `1000092795.jpg#0`, a tab and a caption. The second has a column `image` or
    `image_name` and a column `caption` or `comment`, parted by `,` or `|`.

    Raises:
        DatasetError: If a line is otherwise, or pictures are missing.
    """
    path = Path(path)
    said: dict[str, list[str]] = {}
    for name, caption in _tokens(path) if path.suffix == ".token" else _columns(path):
        said.setdefault(name, []).append(caption)
    return _found(path, images, [(Path(name).stem, "", name, captions) for name, captions in said.items()])


def _tokens(path: Path) -> list[tuple[str, str]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, tab, caption = line.partition("\t")
        if line.strip() and not tab:
            msg = f"{path}:{number}: expected is NAME.jpg#NUMBER, a tab and a caption"
            raise DatasetError(msg)
        if tab:
            rows.append((name.partition("#")[0], caption.strip()))
    return rows


def _columns(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    mark = "|" if lines and "|" in lines[0] else ","
    reader = csv.reader(lines, delimiter=mark, skipinitialspace=True)
    heading = [name.strip().lower() for name in next(reader, [])]
    places = [
        next((heading.index(name) for name in names if name in heading), None)
        for names in (("image", "image_name", "filename"), ("caption", "comment"))
    ]
    if None in places:
        msg = f"{path}:1: the heading needs a column image and a column caption, it has {', '.join(heading)}"
        raise DatasetError(msg)
    image, caption = (place or 0 for place in places)
    rows = []
    for row in reader:
        if len(row) <= max(image, caption):
            if any(field.strip() for field in row):
                msg = f"{path}:{reader.line_num}: there are {len(row)} columns, {len(heading)} were expected"
                raise DatasetError(msg)
            continue
        rows.append((row[image].strip(), row[caption].strip()))
    return rows


def _json(path: Path) -> Any:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path}: this is no JSON: {error}"
        raise DatasetError(msg) from error
    if not isinstance(data, list) and not (isinstance(data, dict) and isinstance(data.get("images"), list)):
        msg = f"{path}: there is no list 'images': expected is COCO's captions JSON or a Karpathy split"
        raise DatasetError(msg)
    return data


def _misformed(path: Path, error: Exception, expected: str) -> DatasetError:
    return DatasetError(f"{path}: this is not as expected ({error!r}): it needs {expected}")


def _found(
    path: Path, images: str | Path | None, named: Sequence[tuple[str, str, str, list[str]]]
) -> list[CaptionedImage]:
    """The pictures where they lie.

    Args:
        path: The file of captions.
        images: The folder named by the user.
        named: Id, folder, file name and captions of each.
    """
    items = [(id_, below, name, tuple(c for c in captions if c)) for id_, below, name, captions in named]
    items = [item for item in items if item[3]]
    if not items:
        msg = f"{path}: there are no captioned pictures in it"
        raise DatasetError(msg)
    roots = [Path(images)] if images is not None else [path.parent / name for name in _PICTURES]
    where = _place(roots, items[0][1], items[0][2])
    result = [CaptionedImage(id_, str(where(below, name)), said) for id_, below, name, said in items]
    missing = [item.path for item in result if missing_file(item.path)]
    if missing:
        msg = (
            f"{path}: {len(missing)} of {len(result)} pictures are missing, such as {missing[0]}: "
            "name their folder (--images)"
        )
        raise DatasetError(msg)
    return result


def _place(roots: Sequence[Path], below: str, name: str) -> Callable[[str, str], Path]:
    """How a picture's path is made, so that the first one is found."""
    for root in roots:
        if (root / below / name).is_file():
            return lambda below, name: (root / below / name).absolute()
        if (root / name).is_file():
            return lambda _, name: (root / name).absolute()
    return lambda below, name: (roots[0] / below / name).absolute()
