"""The `tesseract` program, asked for its table of words."""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cached_property
from io import BytesIO, StringIO
from itertools import groupby
from typing import Final

from PIL import Image

from langchain_mmrag.document_loaders._ocr_lines import OcrLine
from langchain_mmrag.errors import CorruptMediaError, MissingDependencyError

_WORD: Final = "5"
"""Level of the rows that hold a word; the others are pages, blocks, paragraphs and lines."""
_LEAST_CONFIDENCE: Final = 0.5
_LEAST_SIGNS: Final = 2
"""Of a line: textures are taken for one."""
_TIMEOUT_S: Final = 120.0
_LEAST_SIDE: Final = 3
"""Tesseract gives up on smaller pictures."""


class TesseractReader:
    """Read print with the `tesseract` program, which is installed apart from Python packages.

    Args:
        languages: As `tesseract --list-langs` names them, joined by `+`, such as `eng+deu`.
        min_confidence: Words of which the program is less sure, 0 to 1, are dropped.
        program: Name or path of the program.
        timeout_s: Seconds a picture may take.
    """

    def __init__(
        self,
        *,
        languages: str = "eng",
        min_confidence: float = _LEAST_CONFIDENCE,
        program: str = "tesseract",
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        if not 0 <= min_confidence <= 1:
            msg = f"min_confidence must be from 0 to 1, not {min_confidence!r}"
            raise ValueError(msg)
        if not languages or languages.startswith("-"):
            msg = f"languages must be names joined by +, such as eng+deu, not {languages!r}"
            raise ValueError(msg)
        self.languages = languages
        self.min_confidence = min_confidence
        self.program = program
        self.timeout_s = timeout_s

    @cached_property
    def fingerprint(self) -> str:
        """Version of the program, the languages, and the least confidence if it is another."""
        version = self._run(["--version"], b"").split("\n", 1)[0].removeprefix("tesseract").strip(" v")
        given = "" if self.min_confidence == _LEAST_CONFIDENCE else f",{self.min_confidence:g}"
        return f"tesseract-{version},{self.languages}{given}"

    def read(self, image: Image.Image) -> list[OcrLine]:
        """Lines of an upright picture in the program's reading order; none if there is no writing in it.

        Raises:
            MissingDependencyError: If the program is not installed.
            CorruptMediaError: If it fails, or takes longer than `timeout_s`.
        """
        if min(image.size) < _LEAST_SIDE:
            return []
        encoded = BytesIO()
        image.convert("RGB").save(encoded, "PNG", compress_level=1)
        table = self._run(["stdin", "stdout", "-l", self.languages, "tsv"], encoded.getvalue())
        return list(self._lines(table, image.size))

    def _run(self, arguments: Sequence[str], data: bytes) -> str:
        program = shutil.which(self.program)
        if program is None:
            msg = (
                f"the program {self.program} is not installed. Install it (apt install tesseract-ocr, "
                'brew install tesseract), or use RapidOCR: pip install "langchain-mmrag[ocr]"'
            )
            raise MissingDependencyError(msg, name=self.program)
        try:
            done = subprocess.run(  # noqa: S603  no shell, and no argument comes from a file
                [program, *arguments], input=data, capture_output=True, timeout=self.timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            msg = f"{self.program} has not read the picture in {self.timeout_s:g} s: raise timeout_s"
            raise CorruptMediaError(msg) from error
        except OSError as error:
            msg = f"{program} cannot be run: {error.strerror or error}"
            raise MissingDependencyError(msg, name=self.program) from error
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
            msg = f"{self.program} cannot read the picture: {reason}"
            raise CorruptMediaError(msg)
        return done.stdout.decode("utf-8", "replace")

    def _lines(self, table: str, size: tuple[int, int]) -> Iterator[OcrLine]:
        rows = csv.DictReader(StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE)
        words = (row for row in rows if row.get("level") == _WORD and (row.get("text") or "").strip())
        try:
            for _, line in groupby(words, lambda row: (row["block_num"], row["par_num"], row["line_num"])):
                sure = [row for row in line if float(row["conf"]) / 100 >= self.min_confidence]
                if sum(sign.isalnum() for row in sure for sign in row["text"]) >= _LEAST_SIGNS:
                    yield _line(sure, size)
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{self.program} answers with something that is not its table of words: {error}"
            raise CorruptMediaError(msg) from error


def _line(words: Sequence[dict[str, str]], size: tuple[int, int]) -> OcrLine:
    boxes = [[float(word[name]) for name in ("left", "top", "width", "height")] for word in words]
    width, height = size
    text = " ".join(word["text"].strip() for word in words)
    letters = [len(word["text"].strip()) for word in words]
    sure = sum(float(word["conf"]) / 100 * count for word, count in zip(words, letters, strict=True))
    box = (
        min(left for left, _, _, _ in boxes) / width,
        min(top for _, top, _, _ in boxes) / height,
        max(left + across for left, _, across, _ in boxes) / width,
        max(top + down for _, top, _, down in boxes) / height,
    )
    return OcrLine(text, box, sure / sum(letters))
