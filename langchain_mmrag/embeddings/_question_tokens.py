"""Texts to ids as open_clip's own tokenizer makes them, without importing open_clip or torch."""

from __future__ import annotations

import gzip
import html
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from langchain_mmrag.embeddings._question_catalog import is_installed, open_clip_folder

_START: Final = "<start_of_text>"
_END: Final = "<end_of_text>"
_MOST_MERGES: Final = 49152 - 256 - 2  # as many as open_clip takes of any file
_MERGES: Final = "bpe_simple_vocab_16e6.txt.gz"
_WORD: Final = rf"{_START}|{_END}|'s|'t|'re|'ve|'m|'ll|'d|[\p{{L}}]+|[\p{{N}}]|[^\s\p{{L}}\p{{N}}]+"
_KNOWN_WORDS: Final = 16384
_OPTIONS: Final = {"bpe_path", "clean"}


class QuestionTokenizer:
    """Byte-pair encoding of CLIP, lower case, with repaired encodings and HTML entities.

    Args:
        merges: A gzipped file of merges, one a line under a heading, in the order they were learned.
        context_length: Tokens a text is cut to, the start and end mark counted.

    Raises:
        OSError: If the file cannot be read.
    """

    def __init__(self, merges: Path, context_length: int) -> None:
        with gzip.open(merges) as file:
            lines = file.read().decode("utf-8").replace("\r", "").split("\n")[1 : _MOST_MERGES + 1]
        self._letters = _letters()
        parts = [*self._letters.values(), *(f"{letter}</w>" for letter in self._letters.values())]
        parts += [line.replace(" ", "") for line in lines]
        self._ids = {part: number for number, part in enumerate([*parts, _START, _END])}
        self._rank = {line: number for number, line in enumerate(lines)}
        self._known = lru_cache(maxsize=_KNOWN_WORDS)(self._encoded)
        self.context_length = context_length

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return len(self._ids)

    def encode(self, text: str, most: int | None = None) -> list[int]:
        """Ids of a text without the marks of start and end; of its beginning if `most` ids are enough."""
        ids: list[int] = []
        for word in _words().finditer(_clean(text)):
            ids += self._known(word[0])
            if most is not None and len(ids) >= most:
                return ids[:most]
        return ids

    def rows(self, texts: list[str]) -> tuple[list[list[int]], list[bool]]:
        """Ids of each text between its marks, and which were cut to the context; the end mark stays."""
        start, end = self._ids[_START], self._ids[_END]
        room = self.context_length - 2
        ids = [self.encode(text, room + 1) for text in texts]
        return [[start, *row[:room], end] for row in ids], [len(row) > room for row in ids]

    def counts(self, texts: list[str]) -> list[int]:
        """Tokens of each text, both marks counted, as if the context had no end."""
        return [len(self.encode(text)) + 2 for text in texts]

    def _encoded(self, word: str) -> list[int]:
        letters = "".join(self._letters[byte] for byte in word.encode("utf-8"))
        return [self._ids[part] for part in self._parts(letters)]

    def _parts(self, word: str) -> list[str]:
        """The word in the parts of the vocabulary: the pair that was learned first is merged, everywhere."""
        if word in {_START, _END}:
            return [word]
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            ranks = [self._rank.get(f"{a} {b}", len(self._rank)) for a, b in pairwise(parts)]
            best = min(ranks)
            if best == len(self._rank):
                break
            first, second = parts[ranks.index(best) :][:2]
            parts = _merged(parts, first, second)
        return parts


def question_tokenizer(
    name: str, text_cfg: Mapping[str, Any], merges: Path | None
) -> QuestionTokenizer | None:
    """The tokenizer of a model, or None if its texts are tokenised in another way.

    Args:
        name: Of the model.
        text_cfg: Shape of its text tower, which also names its tokenizer.
        merges: Its own file of merges; None for CLIP's, which open_clip has.
    """
    options = text_cfg.get("tokenizer_kwargs") or {}
    plain = options.keys() <= _OPTIONS and options.get("clean", "lower") == "lower"
    own_kind = text_cfg.get("hf_tokenizer_name") or "siglip" in name.lower()
    length, rows = text_cfg.get("context_length", 77), text_cfg.get("vocab_size", 49408)
    if not plain or own_kind or not isinstance(length, int) or ("bpe_path" in options and merges is None):
        return None
    file = merges or _common_merges()
    if file is None or not (is_installed("ftfy") and is_installed("regex")):
        return None
    try:
        tokenizer = _tokenizer(file, length)
    except (OSError, EOFError, ValueError):  # damaged: open_clip's own errors are told
        return None
    return tokenizer if tokenizer.vocab_size <= rows else None


@lru_cache(maxsize=2)
def _tokenizer(file: Path, context_length: int) -> QuestionTokenizer:
    return QuestionTokenizer(file, context_length)


def _common_merges() -> Path | None:
    """CLIP's own merges, which lie in the folder of open_clip."""
    folder = open_clip_folder()
    return folder / _MERGES if folder and (folder / _MERGES).is_file() else None


@lru_cache(maxsize=1)
def _words() -> Any:
    import regex

    return regex.compile(_WORD, regex.IGNORECASE)


@lru_cache(maxsize=1)
def _letters() -> dict[int, str]:
    """A letter for each byte; those that can be seen stand for themselves and come first."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(256 + place) for place, byte in enumerate(unseen)}


def _clean(text: str) -> str:
    # Importing ftfy takes longer than all else that is done here, and most questions need no repair.
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


def _merged(parts: list[str], first: str, second: str) -> list[str]:
    """The parts with every `first` that stands before a `second` joined to it."""
    joined: list[str] = []
    place = 0
    while place < len(parts):
        if parts[place] == first and parts[place + 1 : place + 2] == [second]:
            joined.append(first + second)
            place += 2
        else:
            joined.append(parts[place])
            place += 1
    return joined
