"""A byte-pair vocabulary cut down to the words a small model meets.

CLIP's 49,408 tokens would take more bytes than the rest of the embedded model. open_clip's tokenizer sizes
itself from its merges file, so a shorter file is a smaller vocabulary. Merges keep their order, hence every
word of the corpus is segmented as CLIP segments it; other words fall into smaller pieces.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import regex

COMMON_MERGES = 3000
"""CLIP's most frequent merges, kept whatever the corpus."""

_CLIP_MERGES = 49152 - 256 - 2


def write_vocabulary(texts: Iterable[str], path: Path) -> int:
    """Write a merges file that segments the words of `texts` as CLIP does.

    Returns:
        The vocabulary's size: 512 byte tokens, one token a merge, start and end.
    """
    from open_clip.tokenizer import SimpleTokenizer, default_bpe

    header, *lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[:_CLIP_MERGES]]
    tokenizer = SimpleTokenizer()
    words = {word for text in texts for word in regex.findall(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", text.lower())}
    needed = {merge for word in words for merge in _merges_of(word, tokenizer)}
    kept = [merge for rank, merge in enumerate(merges) if rank < COMMON_MERGES or merge in needed]
    # No newline at the end: the tokenizer would read it as one more, empty, token.
    plain = "\n".join([header, *(" ".join(merge) for merge in kept)])
    path.write_bytes(gzip.compress(plain.encode(), mtime=0))
    return 512 + len(kept) + 2


def _merges_of(word: str, tokenizer: Any) -> Iterable[tuple[str, str]]:
    """Merges CLIP applies to one word, in order."""
    ranks = tokenizer.bpe_ranks
    letters = [tokenizer.byte_encoder[byte] for byte in word.encode()]
    pieces = [*letters[:-1], letters[-1] + "</w>"]
    while len(pieces) > 1:
        best = min(pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            return
        yield best
        joined: list[str] = []
        for piece in pieces:
            if joined and (joined[-1], piece) == best:
                joined[-1] += piece
            else:
                joined.append(piece)
        pieces = joined
