"""From a model's name to a loaded open_clip model, with errors that say what to do."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from langchain_mmrag.embeddings._fast_pieces import is_out_of_memory
from langchain_mmrag.embeddings._hub import WHAT_TO_DO, fetch
from langchain_mmrag.embeddings._open_clip_direct import direct_model
from langchain_mmrag.embeddings._question_catalog import (
    content_digest,
    model_config,
    preprocess_settings,
    tag_settings,
)
from langchain_mmrag.embeddings._question_tokens import QuestionTokenizer, question_tokenizer
from langchain_mmrag.errors import MissingDependencyError, ModelUnavailableError, UnknownModelError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

TINY = "mmrag-tiny"
TINY_FOLDER = Path(__file__).with_name("tiny")
LOCAL = "local-dir:"
HUB = "hf-hub:"

_CONFIG = "open_clip_config.json"
# The order in which open_clip itself prefers them.
_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
# What open_clip and torch raise on a file that is damaged or of another model; open_clip asserts in places.
_LOAD_FAULTS = (
    AssertionError,
    AttributeError,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
)
_VOCABULARY = 49408  # of CLIP's own merges file, open_clip's default


@dataclass(frozen=True)
class Blueprint:
    """What a model is, known before its weights are read.

    Attributes:
        name: Name as open_clip knows it, or as the user wrote it for a folder or a repository.
        checkpoint: Tag of the weights; None if they are named by a file.
        model_cfg: Shape of the two towers.
        preprocess_cfg: How an image becomes pixels.
        folder: Where a model that carries its own configuration lies.
        weights: Gives the file of the weights, fetching it if need be.
        cache_dir: Where what is fetched is kept; None for the hub's own cache.
    """

    name: str
    checkpoint: str | None
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    folder: Path | None
    weights: Callable[[], Path]
    cache_dir: str | None = None

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(self.model_cfg["embed_dim"])

    @property
    def config_digest(self) -> str:
        """Digest of all that shapes a vector beside the weights."""
        text_cfg = {k: v for k, v in self.model_cfg["text_cfg"].items() if k != "tokenizer_kwargs"}
        return _digest(
            json.dumps([self.model_cfg | {"text_cfg": text_cfg}, self.preprocess_cfg], sort_keys=True)
        )

    @property
    def fingerprint(self) -> str:
        """Equal for equal weights: a folder or a file is known by its content, not by its place."""
        named = [] if self.folder and self.name != TINY else [self.name]
        weights = self.checkpoint or f"sha256-{content_digest(self.weights())}"
        return ":".join(["open_clip", *named, weights, str(self.dimension), self.config_digest])


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode, with what turns images and texts into its input."""

    model: Any
    preprocess: Callable[[Image], torch.Tensor]
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype


def import_open_clip() -> Any:
    """Import open_clip.

    Raises:
        MissingDependencyError: If it is missing, or torch and torchvision come from different builds.
    """
    try:
        import open_clip
    except ModuleNotFoundError as error:
        msg = f"{error.name} is not installed. Run: pip install open_clip_torch torch torchvision"
        raise MissingDependencyError(msg, name=error.name) from error
    except (RuntimeError, OSError, ImportError) as error:
        msg = (
            f"open_clip cannot be imported: {_first_line(error)}. Most often torch and torchvision are of "
            "different builds. Install both from one index: pip install --force-reinstall torch torchvision"
        )
        raise MissingDependencyError(msg, name="open_clip") from error
    return open_clip


def has_tiny() -> bool:
    """Whether the embedded model is part of this installation."""
    return (TINY_FOLDER / _CONFIG).is_file()


def find_model(name: str, checkpoint: str | None, cache_dir: str | None) -> Blueprint:
    """Look a model up; reads its configuration, not its weights.

    Raises:
        UnknownModelError: If there is no such model or checkpoint; the message lists what comes close.
        ModelUnavailableError: If a folder or repository is missing or broken.
    """
    if name == TINY:
        if not has_tiny():
            msg = f"{TINY} is missing from this installation: pip install --force-reinstall langchain-mmrag"
            raise ModelUnavailableError(msg)
        return _in_folder(name, TINY_FOLDER)
    if name.startswith(LOCAL):
        return _in_folder(name, Path(name.removeprefix(LOCAL)).expanduser())
    if name.startswith(HUB):
        repo = name.removeprefix(HUB)
        config = fetch(repo, [_CONFIG], cache_dir=cache_dir)
        weights = partial(fetch, repo, _WEIGHTS, cache_dir=cache_dir, revision=config.parent.name)
        return replace(_in_folder(name, config.parent), weights=weights, cache_dir=cache_dir)
    return _by_name(name, checkpoint, cache_dir)


def _by_name(name: str, checkpoint: str | None, cache_dir: str | None) -> Blueprint:
    known = name.replace("/", "-")  # "ViT-B/32" is how the CLIP paper writes it
    model_cfg = _model_config(known)
    if model_cfg is None:
        raise _unknown_model(name, [*import_open_clip().list_models(), TINY])
    tag = _tag_settings(known, checkpoint) if checkpoint else {}
    if not tag and not (checkpoint and Path(checkpoint).is_file()):
        raise _unknown_checkpoint(name, checkpoint, import_open_clip().list_pretrained_tags_by_model(known))
    preprocess_cfg = preprocess_settings(tag)
    preprocess_cfg["size"] = model_cfg["vision_cfg"].get("image_size", preprocess_cfg["size"])
    if tag:
        _warn_of_activation(known, checkpoint, model_cfg, tag)
        repo, _, file = str(tag["hf_hub"]).rpartition("/")
        names = [file] if file else _WEIGHTS
        normal = str(checkpoint).lower().replace("-", "_")
        weights = partial(fetch, repo, names, cache_dir=cache_dir)
        return Blueprint(known, normal, model_cfg, preprocess_cfg, None, weights, cache_dir)
    return Blueprint(known, None, model_cfg, preprocess_cfg, None, partial(Path, str(checkpoint)))


def _model_config(name: str) -> dict[str, Any] | None:
    config: dict[str, Any] | None = model_config(name) or import_open_clip().get_model_config(name)
    return config


def _tag_settings(name: str, checkpoint: str) -> dict[str, Any]:
    """Settings of a tag; none for a file, which open_clip need not be asked about if no tag is written so."""
    if Path(checkpoint).is_file() and not re.fullmatch(r"[\w-]+", checkpoint):
        return {}
    return tag_settings(name, checkpoint, lambda: import_open_clip().get_pretrained_cfg(name, checkpoint))


def _in_folder(name: str, folder: Path) -> Blueprint:
    if not (folder / _CONFIG).is_file():
        what = f"{folder} holds no {_CONFIG}" if folder.is_dir() else f"there is no folder {folder}"
        msg = f"{name}: {what}. {WHAT_TO_DO}"
        raise ModelUnavailableError(msg)
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        model_cfg = config["model_cfg"]
        preprocess_cfg = preprocess_settings(config.get("preprocess_cfg") or {})
        preprocess_cfg["size"] = model_cfg["vision_cfg"].get("image_size", preprocess_cfg["size"])
        int(model_cfg["embed_dim"]), dict(model_cfg["text_cfg"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{name}: {folder / _CONFIG} is no open_clip configuration ({type(error).__name__}: {error})"
        raise ModelUnavailableError(msg) from error
    return Blueprint(name, None, model_cfg, preprocess_cfg, folder, partial(_weights_in, folder, name))


def _weights_in(folder: Path, name: str) -> Path:
    found = sorted(path for kind in ("safetensors", "bin", "pth") for path in folder.glob(f"*.{kind}"))
    for preferred in _WEIGHTS:
        if folder / preferred in found:
            return folder / preferred
    if len(found) == 1:
        return found[0]
    what = f"several files of weights ({', '.join(path.name for path in found)})" if found else "no weights"
    msg = f"{name}: {folder} holds {what}; put them there as {_WEIGHTS[0]}"
    raise ModelUnavailableError(msg)


def load(blueprint: Blueprint, device: torch.device, precision: str) -> Loaded:
    """Build the model and read its weights.

    Raises:
        ModelUnavailableError: If the weights cannot be had, are damaged or are those of another model, or the
            device has no memory for them.
        MissingDependencyError: If the model's tokenizer needs a package that is not installed.
    """
    import torch
    from safetensors import SafetensorError

    open_clip = import_open_clip()
    tokenizer = load_tokenizer(blueprint)  # first: what it lacks should show before gigabytes are fetched
    weights = blueprint.weights()
    try:
        model, preprocess = _built(blueprint, weights, device, precision)
    except (SafetensorError, MemoryError, *_LOAD_FAULTS) as error:
        if is_out_of_memory(error):
            msg = (
                f"{blueprint.name}: {device} has no memory left for this model ({_first_line(error)}). End "
                "what else uses it, or give device='cpu' or a smaller model"
            )
            raise ModelUnavailableError(msg) from error
        msg = (
            f"{blueprint.name}: the weights in {weights} could not be loaded ({_first_line(error)}). "
            "The file is damaged or belongs to another model: fetch it again, or name the model it belongs to"
        )
        raise ModelUnavailableError(msg) from error
    model.eval()
    dtype = open_clip.get_input_dtype(precision) or torch.float32
    return Loaded(model, preprocess, tokenizer, device, dtype)


def _built(blueprint: Blueprint, weights: Path, device: torch.device, precision: str) -> tuple[Any, Any]:
    """The model on its device, of weights read straight into it where that can be, and its preprocessing."""
    cfg = blueprint.preprocess_cfg
    if precision == "fp32" and (direct := direct_model(weights, blueprint.model_cfg, cfg)):
        model, preprocess = direct
        return model.to(device), preprocess
    source: dict[str, Any] = {"model_name": f"{LOCAL}{blueprint.folder}"}
    if blueprint.folder is None:
        images = {f"image_{key}": cfg[key] for key in ("mean", "std", "interpolation", "resize_mode")}
        source = {"model_name": blueprint.name, "pretrained": str(weights), **images}
    model, _, preprocess = import_open_clip().create_model_and_transforms(
        **source, precision=precision, device=device
    )
    return model, preprocess


def adopt(
    model: Any, name: str, device: torch.device | None, preprocess: Any = None, tokenizer: Any = None
) -> Loaded:
    """Take over a model that is already loaded, on its device unless one is named; sets evaluation mode."""
    import torch

    open_clip = import_open_clip()
    if preprocess is None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        cfg = getattr(getattr(model, "visual", None), "preprocess_cfg", None)
        if cfg is None:
            msg = "this model does not say how its images are prepared: give preprocess= as well"
            raise ValueError(msg)
        preprocess = image_transform_v2(PreprocessCfg(**cfg), is_train=False)
    if tokenizer is None:
        length = getattr(model, "context_length", None)
        tokenizer = open_clip.get_tokenizer(name, context_length=length)
        _check_vocabulary(tokenizer, getattr(model, "vocab_size", _VOCABULARY), name)
    if device is not None:
        model = model.to(device)
    # The first layer, since in half precision other parameters stay as they were.
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    first = next(layer.weight for layer in model.visual.modules() if isinstance(layer, kinds))
    return Loaded(model.eval(), preprocess, tokenizer, first.device, first.dtype)


def load_tokenizer(blueprint: Blueprint) -> Any:
    """Build what turns texts into ids; reads no weights.

    Raises:
        ModelUnavailableError: If its files cannot be had, or do not fit the model.
        MissingDependencyError: If it needs a package that is not installed.
    """
    open_clip = import_open_clip()
    text_cfg: Mapping[str, Any] = blueprint.model_cfg["text_cfg"]
    name, options = blueprint.name, {"cache_dir": blueprint.cache_dir}
    if blueprint.folder is not None and not (text_cfg.get("hf_tokenizer_name") and name.startswith(HUB)):
        name = f"{LOCAL}{blueprint.folder}"
        merges = _merges_file(blueprint.folder, text_cfg)
        options |= {"bpe_path": str(merges)} if merges else {}
    try:
        tokenizer = open_clip.get_tokenizer(name, **options)
    except ModuleNotFoundError as error:
        msg = f"the tokenizer of {blueprint.name} needs {error.name}. Run: pip install {error.name}"
        raise MissingDependencyError(msg, name=error.name) from error
    except (OSError, ValueError, RuntimeError) as error:
        msg = f"the tokenizer of {blueprint.name} could not be loaded ({_first_line(error)}). {WHAT_TO_DO}"
        raise ModelUnavailableError(msg) from error
    _check_vocabulary(tokenizer, text_cfg.get("vocab_size", _VOCABULARY), blueprint.name)
    return tokenizer


def light_tokenizer(blueprint: Blueprint) -> QuestionTokenizer | None:
    """What `load_tokenizer` gives, without importing open_clip; None for tokenizers of another kind."""
    text_cfg, folder = blueprint.model_cfg["text_cfg"], blueprint.folder
    name = blueprint.name if folder is None else ""
    return question_tokenizer(name, text_cfg, None if folder is None else _merges_file(folder, text_cfg))


def _merges_file(folder: Path, text_cfg: Mapping[str, Any]) -> Path | None:
    """The merges file beside the weights; the path in the configuration is of the machine they come from."""
    named = Path(text_cfg.get("tokenizer_kwargs", {}).get("bpe_path", "bpe.txt.gz")).name
    found = [path for path in sorted(folder.glob("*.txt.gz")) if path.name == named] or sorted(
        folder.glob("bpe*.txt.gz")
    )
    return found[0] if found else None


def _check_vocabulary(tokenizer: Any, rows: int, name: str) -> None:
    size = getattr(tokenizer, "vocab_size", None)
    if isinstance(size, int) and size > rows:
        msg = (
            f"{name}: its tokenizer has {size} tokens, its token table {rows} rows; the merges file "
            "(bpe*.txt.gz) the model was trained with must lie beside its weights"
        )
        raise ModelUnavailableError(msg)


def _warn_of_activation(
    name: str, checkpoint: str | None, model_cfg: Mapping[str, Any], tag: Mapping[str, Any]
) -> None:
    better = f"{name}-quickgelu" if tag.get("quick_gelu") else name.removesuffix("-quickgelu")
    alike = bool(model_cfg.get("quick_gelu")) == bool(tag.get("quick_gelu"))
    if alike or better == name or _model_config(better) is None:
        return
    warnings.warn(
        f"the weights {checkpoint!r} were trained with another activation than {name!r} has, which makes the "
        f"vectors worse; use model_name={better!r} unless old vectors have to be matched",
        UserWarning,
        stacklevel=2,
    )


def _unknown_model(name: str, names: Iterable[str]) -> UnknownModelError:
    if name and Path(name).expanduser().is_dir():
        return UnknownModelError(f"{name!r} is a folder: write model_name='{LOCAL}{name}'")
    return UnknownModelError(
        f"no model is called {name!r}.{_close(name, names)} OpenCLIPEmbeddings.list_models() lists all"
    )


def _unknown_checkpoint(name: str, checkpoint: str | None, tags: list[str]) -> UnknownModelError:
    known = f"{name} has: {', '.join(tags)}" if tags else f"no trained weights of {name} are known"
    if checkpoint is None:
        return UnknownModelError(f"{name} needs a checkpoint, a tag or a file of weights. {known}")
    close = _close(checkpoint, tags)
    return UnknownModelError(f"{name} has no checkpoint {checkpoint!r}, nor is that a file.{close} {known}")


def _close(word: str, words: Iterable[str]) -> str:
    by_lower = {known.lower(): known for known in words}
    close = [by_lower[match] for match in get_close_matches(word.lower(), by_lower, n=4, cutoff=0.5)]
    return f" Did you mean {' or '.join(close)}?" if close else ""


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def shape_digest(*parts: object) -> str:
    """A short digest of what objects say of themselves, less the addresses they happen to have in memory."""
    return _digest(re.sub(r" at 0x[0-9a-fA-F]+", "", repr(parts)))
