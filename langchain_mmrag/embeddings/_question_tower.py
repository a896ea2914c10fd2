"""The text tower of a CLIP model in NumPy, on the weights of its layers alone.

A question is a dozen tokens: importing torch for it and copying both towers takes a hundred times as long as
the answer. Here the layers are read once, and of the table of tokens the rows that a question has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from langchain_mmrag.embeddings._tensor_file import TensorFile, opened_tensors

Floats = NDArray[np.float32]
_Shapes = dict[str, tuple[int, ...]]

_EPSILON: Final = 1e-5  # of torch's LayerNorm
_QUICK: Final = 1.702  # of QuickGELU
_COLUMNS: Final = 64  # at a time: what is read of them stays in the processor's cache
_DTYPES: Final[dict[str, np.dtype[Any]]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
_TABLE: Final = "token_embedding.weight"
_MODEL_KEYS: Final = {
    *("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text"),
    *("init_logit_scale", "init_logit_bias", "nonscalar_logit_scale"),
}
_TEXT_KEYS: Final[dict[str, Any]] = {  # what a tower of this kind may say; None: any value
    "context_length": None,
    "vocab_size": None,
    "width": None,
    "heads": None,
    "layers": None,
    "mlp_ratio": None,
    "tokenizer_kwargs": None,
    "pad_id": None,
    "eos_id": None,
    "embed_cls": False,
    "no_causal_mask": False,
    "output_tokens": False,
    "pool_type": "argmax",
    "proj_bias": False,
    "proj_type": "linear",
}
_BLOCK: Final = {
    "ln_1.weight": ("width",),
    "ln_1.bias": ("width",),
    "attn.in_proj_weight": ("three", "width"),
    "attn.in_proj_bias": ("three",),
    "attn.out_proj.weight": ("width", "width"),
    "attn.out_proj.bias": ("width",),
    "ln_2.weight": ("width",),
    "ln_2.bias": ("width",),
    "mlp.c_fc.weight": ("inner", "width"),
    "mlp.c_fc.bias": ("inner",),
    "mlp.c_proj.weight": ("width", "inner"),
    "mlp.c_proj.bias": ("width",),
}


class ChangedWeightsError(Exception):
    """The file is not the one whose layers were read."""


@dataclass(frozen=True)
class TokenRows:
    """The table of tokens [vocabulary, d], of which rows are read when they are needed.

    Attributes:
        file: As it was when the layers were read.
        name: Of the table in it.
        width: d.
        dtype: Of its numbers there.
    """

    file: TensorFile
    name: str
    width: int
    dtype: np.dtype[Any]

    def __getitem__(self, ids: NDArray[np.intp]) -> Floats:
        """Rows [n, d] of token ids [n].

        Raises:
            ChangedWeightsError: If the file is another by now, or is gone.
        """
        rows, places = np.unique(ids, return_inverse=True)
        found = np.empty((len(rows), self.width), self.dtype)
        try:
            with self.file.opened_again() as file:
                for row, target in zip(rows.tolist(), found, strict=True):
                    file.read_into(target, self.name, row * target.nbytes)
        except (OSError, ValueError) as error:
            raise ChangedWeightsError from error
        return found[places].astype(np.float32, copy=False)


@dataclass(frozen=True)
class QuestionTower:
    """Ids to features, for a causal tower whose end token is pooled.

    Attributes:
        tokens: The table of tokens.
        weights: All others by their names in open_clip, without the prefix of a separate tower; matrices of
            layers are [in, out].
        layers: Number of blocks.
        heads: Number of heads in each.
        quick: Whether the activation is QuickGELU rather than GELU.
    """

    tokens: TokenRows
    weights: dict[str, Floats]
    layers: int
    heads: int
    quick: bool

    @property
    def is_current(self) -> bool:
        """Whether the file of the weights is as it was when the layers were read."""
        try:
            with self.tokens.file.opened_again():
                return True
        except (OSError, ValueError):
            return False

    def lay_out(self) -> None:
        """Put the matrices of the layers in the order a product reads them in, one after the other.

        It takes the time of a few questions, and each is answered a fifth faster afterwards; meanwhile, too,
        they can be asked.
        """
        for name, values in self.weights.items():
            if _is_matrix(name, values):
                laid_out = np.empty(values.shape, np.float32)
                for start in range(0, values.shape[1], _COLUMNS):
                    laid_out[:, start : start + _COLUMNS] = values[:, start : start + _COLUMNS]
                self.weights[name] = laid_out

    def encode(self, rows: Sequence[Sequence[int]]) -> Floats:
        """Features [n, d] of n texts of any lengths within the context, not normalised.

        The position of the first token with the highest id is pooled; it sees only those before it, so what
        comes after is left out. All tokens of all texts go through a layer as one matrix.

        Raises:
            ChangedWeightsError: If the file of the weights is another by now.
        """
        cut = [list(row)[: int(np.argmax(row)) + 1] for row in rows]
        ends = np.cumsum([len(row) for row in cut])
        spans = [slice(end - len(row), end) for row, end in zip(cut, ends.tolist(), strict=True)]
        w = self.weights
        with np.errstate(all="ignore"):  # damaged weights are told of by who looks at the vectors
            x = self.tokens[np.concatenate(cut)]
            x += np.concatenate([w["positional_embedding"][: len(row)] for row in cut])
            for layer in range(self.layers):
                read = ends - 1 if layer == self.layers - 1 else None
                x = self._block(x, f"transformer.resblocks.{layer}.", spans, read)
            features: Floats = _normed(x, w["ln_final.weight"], w["ln_final.bias"]) @ w["text_projection"]
        return features

    def _block(
        self, x: Floats, name: str, spans: Sequence[slice], read: NDArray[np.intp] | None = None
    ) -> Floats:
        """What a layer makes of all positions; of the last layer only some are `read`."""
        w = self.weights
        y = _normed(x, w[f"{name}ln_1.weight"], w[f"{name}ln_1.bias"])
        y = y @ w[f"{name}attn.in_proj_weight"]
        y += w[f"{name}attn.in_proj_bias"]
        y = np.concatenate([self._attention(y[span]) for span in spans])
        if read is not None:
            x, y = x[read], y[read]
        y = y @ w[f"{name}attn.out_proj.weight"]
        y += w[f"{name}attn.out_proj.bias"]
        x = x + y
        y = _normed(x, w[f"{name}ln_2.weight"], w[f"{name}ln_2.bias"])
        y = y @ w[f"{name}mlp.c_fc.weight"]
        y += w[f"{name}mlp.c_fc.bias"]
        y = (_quick_gelu(y) if self.quick else _gelu(y)) @ w[f"{name}mlp.c_proj.weight"]
        y += w[f"{name}mlp.c_proj.bias"]
        x += y
        return x

    def _attention(self, qkv: Floats) -> Floats:
        """Causal attention of one text: queries, keys and values [t, 3 w] to [t, w]."""
        tokens, three = qkv.shape
        depth = three // 3 // self.heads
        q, k, v = qkv.reshape(tokens, 3, self.heads, depth).transpose(1, 2, 0, 3)
        scores: Floats = q @ k.transpose(0, 2, 1)
        scores *= np.float32(1 / math.sqrt(depth))
        scores += _mask(tokens)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed: Floats = (scores @ v).transpose(1, 0, 2).reshape(tokens, three // 3)
        return mixed


def question_tower(weights: Path, model_cfg: Mapping[str, Any]) -> QuestionTower | None:
    """The text tower in a file of weights; None unless it is known for certain how it computes.

    Args:
        weights: A safetensors file in open_clip's own layout.
        model_cfg: Shape of the two towers, in open_clip's words.
    """
    text_cfg = model_cfg["text_cfg"]
    if weights.suffix != ".safetensors" or not model_cfg.keys() <= _MODEL_KEYS or not _is_plain(text_cfg):
        return None
    try:
        expected = _expected(text_cfg, int(model_cfg["embed_dim"]))
        prefix = "text." if model_cfg.get("custom_text") else ""
        found = _read(weights, prefix, expected)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None  # damaged or foreign: torch's own errors say how
    if found is None:
        return None
    layers, heads = int(text_cfg.get("layers", 12)), int(text_cfg.get("heads", 8))
    return QuestionTower(*found, layers, heads, quick=bool(model_cfg.get("quick_gelu")))


def _is_plain(text_cfg: Mapping[str, Any]) -> bool:
    return all(
        key in _TEXT_KEYS and (_TEXT_KEYS[key] is None or value == _TEXT_KEYS[key])
        for key, value in text_cfg.items()
    )


def _expected(text_cfg: Mapping[str, Any], dimension: int) -> _Shapes:
    """Every tensor of the tower with its shape."""
    width, heads = int(text_cfg.get("width", 512)), int(text_cfg.get("heads", 8))
    if width % heads:
        msg = f"{heads} heads do not divide a width of {width}"
        raise ValueError(msg)
    sizes = {"width": width, "three": 3 * width, "inner": int(width * text_cfg.get("mlp_ratio", 4.0))}
    shapes: _Shapes = {
        "token_embedding.weight": (int(text_cfg.get("vocab_size", 49408)), width),
        "positional_embedding": (int(text_cfg.get("context_length", 77)), width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "text_projection": (width, dimension),
    }
    for layer in range(int(text_cfg.get("layers", 12))):
        for name, shape in _BLOCK.items():
            shapes[f"transformer.resblocks.{layer}.{name}"] = tuple(sizes[size] for size in shape)
    return shapes


def _read(path: Path, prefix: str, expected: _Shapes) -> tuple[TokenRows, dict[str, Floats]] | None:
    """The table of tokens and the other tensors of these names and shapes; None if the file has others.

    Raises:
        OSError, ValueError: As `opened_tensors`.
    """
    with opened_tensors(path) as file:
        own = {name.removeprefix(prefix): name for name in _of_text(file.table, prefix)}
        if own.keys() != expected.keys():
            return None
        kinds = {name: _kind(file.table[own[name]], shape) for name, shape in expected.items()}
        if None in kinds.values():
            return None
        table = TokenRows(file, own[_TABLE], expected[_TABLE][1], kinds.pop(_TABLE))
        return table, {name: _tensor(file, own[name], kinds[name], expected[name]) for name in kinds}


def _kind(entry: Mapping[str, Any], shape: tuple[int, ...]) -> Any:
    """How numbers of a tensor of this shape are stored; None if it is of another shape or kind."""
    dtype = _DTYPES.get(entry["dtype"])
    begin, end = entry["data_offsets"]
    if dtype is None or tuple(entry["shape"]) != shape or end - begin != dtype.itemsize * math.prod(shape):
        return None
    return dtype


def _tensor(file: TensorFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Floats:
    stored = np.empty(shape, dtype)
    file.read_into(stored, name)
    values = stored.astype(np.float32, copy=False)  # half precision becomes fp32 as in torch
    return values.T if _is_matrix(name, values) else values


def _is_matrix(name: str, values: Floats) -> bool:
    """Whether this is a matrix of a layer: [out, in] in the file, where a product takes [in, out]."""
    return ".resblocks." in name and values.ndim > 1


def _of_text(names: Iterable[str], prefix: str) -> Iterator[str]:
    """What in a file belongs to the text tower: all under its prefix, or all that is not of images."""
    others = ("visual.", "logit_scale", "logit_bias")
    for name in names:
        if name.startswith(prefix) if prefix else not name.startswith(others):
            yield name


# --- what a layer does --------------------------------------------------------------------------------------


def _normed(x: Floats, weight: Floats, bias: Floats) -> Floats:
    normed: Floats = x - x.sum(axis=1, keepdims=True) / np.float32(x.shape[1])
    variance = np.einsum("ij,ij->i", normed, normed) / np.float32(x.shape[1])
    normed *= (1 / np.sqrt(variance + np.float32(_EPSILON)))[:, None]
    normed *= weight
    normed += bias
    return normed


@lru_cache(maxsize=16)  # all layers have the same
def _mask(tokens: int) -> Floats:
    """What attention scores of `tokens` positions get added so that none looks ahead [t, t]."""
    mask: Floats = np.triu(np.full((tokens, tokens), -np.inf, np.float32), 1)
    return mask


def _quick_gelu(x: Floats) -> Floats:
    activated: Floats = x / (1 + np.exp(np.float32(-_QUICK) * x))
    return activated


def _gelu(x: Floats) -> Floats:
    """GELU, x Φ(x), with the error function to 1.5e-7 by formula 7.1.26 of Abramowitz and Stegun (1964)."""
    z = np.abs(x)
    z *= np.float32(math.sqrt(0.5))
    t = np.float32(0.3275911) * z
    t += 1
    np.reciprocal(t, out=t)
    tail = np.float32(1.061405429) * t
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += np.float32(coefficient)
        tail *= t
    z *= -z
    tail *= np.exp(z, out=z)
    tail *= np.float32(0.5) * np.abs(x)  # |x| Φ(-|x|)
    activated: Floats = np.maximum(x, 0) - tail
    return activated
