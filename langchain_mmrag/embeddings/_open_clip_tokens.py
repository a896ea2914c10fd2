"""How many tokens open_clip's tokenizers make of a text: they themselves only give tables cut to a length."""

from __future__ import annotations

from typing import Any

from langchain_mmrag.embeddings._question_tokens import QuestionTokenizer

_GROWTH = 4
_MOST_TOKENS_A_BYTE = 4


def context_length_of(tokenizer: Any) -> int | None:
    """Tokens a tokenizer leaves of a text, special ones counted; None if it does not say."""
    length = getattr(tokenizer, "context_length", None)
    return length if isinstance(length, int) else None


def padding_of(tokenizer: Any) -> int:
    """Id of the padding token: 0 in open_clip's own tokenizer, otherwise the inner tokenizer knows."""
    inner = getattr(tokenizer, "tokenizer", None)
    return int(getattr(inner, "pad_token_id", None) or 0)


def count_tokens(tokenizer: Any, texts: list[str]) -> list[int]:
    """Tokens of each text, special ones counted, as if the context had no end.

    Args:
        tokenizer: One whose context length is known.
        texts: Of any length; a run of letters without a break takes time by the square of its length.
    """
    if isinstance(tokenizer, QuestionTokenizer):
        return tokenizer.counts(texts)
    from open_clip import SimpleTokenizer

    if isinstance(tokenizer, SimpleTokenizer):  # its id of padding also stands for a "!" inside a word
        specials = 2
        return [len(tokenizer.encode(text)) + specials for text in texts]
    return _count_in_table(tokenizer, texts)


def _count_in_table(tokenizer: Any, texts: list[str]) -> list[int]:
    """Count what is no padding, in a table made wider until no row is full."""
    padding = padding_of(tokenizer)
    # Where the end mark is also the padding, one of those counts.
    hidden = int(getattr(getattr(tokenizer, "tokenizer", None), "eos_token_id", None) == padding)
    widest = _MOST_TOKENS_A_BYTE * max((len(text.encode(errors="replace")) for text in texts), default=0)
    width = int(tokenizer.context_length) + 1
    while True:
        counts: list[int] = ((tokenizer(texts, context_length=width) != padding).sum(dim=1) + hidden).tolist()
        if max(counts, default=0) < width or width > widest:
            return counts
        width *= _GROWTH
