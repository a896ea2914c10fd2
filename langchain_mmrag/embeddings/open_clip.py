"""CLIP models through open_clip: any architecture, any weights, one interface."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike, fspath
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langchain_mmrag.embeddings import _open_clip_models as models
from langchain_mmrag.embeddings._devices import choose_device
from langchain_mmrag.embeddings._fast_model import Model, in_computable_precision
from langchain_mmrag.embeddings._hub import state_digest
from langchain_mmrag.embeddings._inputs import checked_texts
from langchain_mmrag.embeddings._open_clip_tokens import context_length_of, count_tokens, padding_of
from langchain_mmrag.embeddings._question_model import Answer, QuestionModel
from langchain_mmrag.embeddings._question_tower import ChangedWeightsError
from langchain_mmrag.embeddings.base import MultimodalEmbeddings, TruncatedTextWarning
from langchain_mmrag.errors import ModelUnavailableError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_DEFAULT_MODEL = "ViT-B-32"
_DEFAULT_CHECKPOINT = "laion2b_s34b_b79k"
_PRECISIONS = ("auto", "fp32", "bf16", "fp16")


class ModelInfo(NamedTuple):
    """A model that can be asked for by name."""

    name: str
    checkpoint: str | None
    dimension: int


class OpenCLIPEmbeddings(MultimodalEmbeddings):
    """Text and images to vectors by a CLIP model that open_clip can load.

    The constructor is cheap: weights are read at first use. Keywords, methods and vectors are those of the
    class of this name in `langchain_experimental`. Threads may share one instance; a copy sent to another
    process reads the weights again there. Start other processes by "spawn": torch's own threads do not
    survive a fork, and a forked process would wait for them for good.

    Args:
        model_name: A name from `list_models()`, `hf-hub:org/repo`, `local-dir:/folder`, or `mmrag-tiny`, the
            small model inside this package.
        checkpoint: A tag from `list_models()` or a file of weights; goes with a plain name only. `ViT-B-32`
            has a default.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`; None takes the fastest there is.
        precision: `"fp32"`, `"bf16"` or `"fp16"`. `"auto"` is fp32 on every device, so that vectors made on
            one machine compare with those made on another. Vectors of different precisions are not mixed in
            one collection.
        batch_size: Inputs per batch; the memory of the device permitting, and in smaller passes on a CPU.
        exact_decode: Decode JPEGs in full and take each step of open_clip's preprocessing by itself. Off,
            photographs are decoded at the size they are needed in: cosines differ by less than 1e-5.
        show_progress: A bar on stderr: always, never, or (None) only for work longer than a second.
        cache_dir: Where downloaded weights are kept, in place of the hub's own cache.
        model: An open_clip model that is already loaded. It is put into evaluation mode.
        preprocess: Image to tensor, in place of the model's own.
        tokenizer: Texts to ids, in place of the model's own.
        media_policy: What may be opened as an image, and how large it may be.

    A text longer than the model's context is cut; the first time, a `TruncatedTextWarning` says so.

    Example:
        ```python
        clip = OpenCLIPEmbeddings(model_name="ViT-B-32", checkpoint="laion2b_s34b_b79k")
        text = clip.embed_query("a dog on a beach")
        image = clip.embed_image("dog.jpg")
        ```
    """

    def __init__(
        self,
        model_name: str = _DEFAULT_MODEL,
        checkpoint: str | PathLike[str] | None = None,
        *,
        device: str | None = None,
        precision: str = "auto",
        batch_size: int = 64,
        exact_decode: bool = False,
        show_progress: bool | None = None,
        cache_dir: str | PathLike[str] | None = None,
        model: Any = None,
        preprocess: Any = None,
        tokenizer: Any = None,
        media_policy: MediaPolicy = DEFAULT_POLICY,
    ) -> None:
        super().__init__(batch_size=batch_size, show_progress=show_progress, media_policy=media_policy)
        if precision not in _PRECISIONS:
            msg = f"precision must be one of {', '.join(_PRECISIONS)}, not {precision!r}"
            raise ValueError(msg)
        if model is not None and precision != "auto":
            msg = (
                "a model that is already loaded has its precision: leave precision= out or convert the model"
            )
            raise ValueError(msg)
        if model is not None and checkpoint is not None:
            msg = f"a model that is already loaded has its weights: leave checkpoint={checkpoint!r} out"
            raise ValueError(msg)
        model_name = fspath(model_name)
        carries_weights = model_name == models.TINY or model_name.startswith((models.LOCAL, models.HUB))
        if checkpoint is not None and carries_weights:
            msg = f"{model_name} has its own weights: leave checkpoint={checkpoint!r} out"
            raise ValueError(msg)
        if checkpoint is None and model is None and model_name == _DEFAULT_MODEL:
            checkpoint = _DEFAULT_CHECKPOINT
        self.model_name = model_name
        self.checkpoint = None if checkpoint is None else fspath(checkpoint)
        self.device = device
        self.precision = precision
        self.exact_decode = exact_decode
        self.cache_dir = None if cache_dir is None else fspath(cache_dir)
        self._given = (model, preprocess, tokenizer)
        self._reset()

    def _reset(self) -> None:
        self._lock = RLock()
        self._blueprint: models.Blueprint | None = None
        self._loaded: models.Loaded | None = None
        self._own_tokenizer: Any = None
        self._questions = QuestionModel()
        self._model: Model | None = None
        self._fingerprint: str | None = None
        self._warned = False

    def __getstate__(self) -> dict[str, Any]:
        """State without the loaded model and the lock; a model that was handed in goes along."""
        transient = {
            *("_lock", "_blueprint", "_loaded", "_own_tokenizer", "_questions"),
            *("_model", "_fingerprint", "_warned"),
        }
        return {key: value for key, value in self.__dict__.items() if key not in transient}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __repr__(self) -> str:
        parts = [f"model_name={self.model_name!r}", f"checkpoint={self.checkpoint!r}"]
        if self._given[0] is not None:
            parts = [f"model=<{type(self._given[0]).__name__}>"]
        return f"OpenCLIPEmbeddings({', '.join(parts)}, device={self.device!r}, precision={self.precision!r})"

    @staticmethod
    def list_models() -> list[ModelInfo]:
        """Every model with trained weights that can be asked for by name, the embedded one first."""
        open_clip = models.import_open_clip()
        tiny = []
        if models.has_tiny():
            tiny = [ModelInfo(models.TINY, None, models.find_model(models.TINY, None, None).dimension)]
        return tiny + [
            ModelInfo(name, tag, int(open_clip.get_model_config(name)["embed_dim"]))
            for name, tag in open_clip.list_pretrained()
        ]

    @property
    def fingerprint(self) -> str:
        """Names model, weights, dimension and preprocessing; reads no weights where a tag names them."""
        with self._lock:
            if self._fingerprint is None:
                self._fingerprint = self._make_fingerprint()
            return self._fingerprint

    def _make_fingerprint(self) -> str:
        model, preprocess, tokenizer = self._given
        if model is not None:
            loaded = self._ready()
            shaped = models.shape_digest(loaded.preprocess)
            return f"open_clip:state-{state_digest(loaded.model)}:{self.dimension}:{shaped}"
        named = self._found().fingerprint
        custom = [part for part in (preprocess, tokenizer) if part is not None]
        digests = [models.shape_digest(*custom)] if custom else []
        rounded = [] if self.precision in {"auto", "fp32"} else [self.precision]
        return ":".join([named, *digests, *rounded])

    @property
    def dimension(self) -> int:
        """Length of every vector; reads no weights unless the model was handed in."""
        return super().dimension if self._given[0] is not None else self._found().dimension

    @property
    def has_fixed_weights(self) -> bool:
        """Whether its weights are its own: a model that was handed in may be trained further at any time."""
        return self._given[0] is None

    @property
    def is_loaded(self) -> bool:
        """Whether the weights of both towers are there for torch; a few texts are embedded without."""
        return self._loaded is not None

    @property
    def logit_scale(self) -> float:
        """The factor this model puts on cosines before a softmax, exp of its learned parameter."""
        return float(self._ready().model.logit_scale.detach().float().exp())

    @property
    def context_length(self) -> int | None:
        """Tokens of a text that the model reads, special ones counted; None if its tokenizer does not say.

        Reads no weights unless the model was handed in.
        """
        return context_length_of(self._tokenizer())

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, special ones counted; reads no weights, as `context_length`."""
        texts, tokenizer = checked_texts(texts), self._tokenizer()
        if context_length_of(tokenizer) is None:
            return super().token_counts(texts)
        counts: list[int] = []
        for start in range(0, len(texts), self.batch_size):
            with self._lock:
                counts += count_tokens(tokenizer, texts[start : start + self.batch_size])
        return counts

    def _found(self) -> models.Blueprint:
        with self._lock:
            if self._blueprint is None:
                self._blueprint = models.find_model(self.model_name, self.checkpoint, self.cache_dir)
            return self._blueprint

    def _ready(self) -> models.Loaded:
        loaded = self._loaded
        if loaded is not None:  # without the lock: images are prepared while another thread computes
            return loaded
        with self._lock:
            if self._loaded is None:
                if self._questions.is_outdated:
                    self._look_again()
                self._loaded = self._load()
                self._questions = QuestionModel()  # that text tower is not needed any more
            return self._loaded

    def _running(self) -> Model:
        running = self._model
        if running is not None and not running.towers.is_torn:
            return running
        with self._lock:
            if self._model is not None and self._model.towers.is_torn:  # whoever packed it was interrupted
                self._model = self._loaded = None
            if self._model is None:
                is_given = self._given[0] is not None
                self._model = Model(self._ready(), exact_decode=self.exact_decode, is_given=is_given)
            return self._model

    def _load(self) -> models.Loaded:
        model, preprocess, tokenizer = self._given
        models.import_open_clip()
        if model is not None:
            device = None if self.device is None else choose_device(self.device)
            return models.adopt(model, self.model_name, device, preprocess, tokenizer)
        precision = "fp32" if self.precision == "auto" else self.precision
        loaded = models.load(self._found(), choose_device(self.device), precision)
        loaded = in_computable_precision(loaded, precision)
        if preprocess is not None:
            loaded = replace(loaded, preprocess=preprocess)
        return loaded if tokenizer is None else replace(loaded, tokenizer=tokenizer)

    def _tokenizer(self) -> Any:
        """What turns texts into ids, without reading the weights if that can be."""
        model, _, given = self._given
        if given is not None:
            return given
        if model is not None or self._loaded is not None:
            return self._ready().tokenizer
        with self._lock:
            if self._own_tokenizer is None:
                found = self._found()
                self._own_tokenizer = models.light_tokenizer(found) or models.load_tokenizer(found)
            return self._own_tokenizer

    def _shrink(self, image: Image) -> Image:
        return self._running().pixels.shrink(image)

    def _min_side(self) -> int | None:
        return self._running().pixels.min_side

    def _encode_texts(self, texts: list[str]) -> NDArray[np.float32]:
        light = self._answer_lightly(texts)
        return self._encode_in_torch(texts) if light is None else light

    def _answer_lightly(self, texts: list[str]) -> NDArray[np.float32] | None:
        """Few texts while the model is not loaded, without loading it; None where that cannot be."""
        on_cpu = self.device in {None, "cpu"} and self.precision in {"auto", "fp32"}
        if self._loaded is not None or not on_cpu or self._given[0] is not None or self._given[2] is not None:
            return None
        with self._lock:
            answer = None if self._loaded is not None else self._answer_or_look_again(texts)
        if answer is None:
            return None
        features, cut, length = answer
        self._warn_of_cut(sum(cut), len(texts), length)
        return features

    def _answer_or_look_again(self, texts: list[str]) -> Answer | None:
        try:
            return self._questions.encode(self._found(), texts)
        except ChangedWeightsError:
            self._look_again()
            return self._questions.encode(self._found(), texts)

    def _look_again(self) -> None:
        """Read the weights anew: their file was written to.

        Raises:
            ModelUnavailableError: Unless they are known to be those whose vectors were given before.
        """
        before, self._blueprint = self._fingerprint, None
        if before is None or self._make_fingerprint() != before:
            msg = (
                f"{self.model_name}: its file of weights was overwritten while it was in use, and vectors of "
                "other weights cannot be compared. Make a new OpenCLIPEmbeddings"
            )
            raise ModelUnavailableError(msg)
        self._questions = QuestionModel()

    def _encode_in_torch(self, texts: list[str]) -> NDArray[np.float32]:
        with self._lock:
            model, tokenizer = self._running(), self._ready().tokenizer
            tokens = tokenizer(texts)
            self._warn_if_cut(texts, tokens)
            return model.encode_texts(tokens)

    def _encode_images(self, images: list[Image]) -> NDArray[np.float32]:
        batch = self._running().stack(images)  # without the lock: another thread may compute meanwhile
        with self._lock:
            return self._running().encode_images(batch)

    def _warn_if_cut(self, texts: list[str], tokens: torch.Tensor) -> None:
        if self._warned:
            return
        full = (tokens[:, -1] != padding_of(self._ready().tokenizer)).tolist()
        cut = self.truncated([text for text, is_full in zip(texts, full, strict=True) if is_full])
        self._warn_of_cut(sum(cut), len(texts), tokens.shape[1])

    def _warn_of_cut(self, cut: int, among: int, length: int) -> None:
        if cut and not self._warned:
            self._warned = True
            msg = (
                f"{self!r} reads {length} tokens of a text; the end of {cut} of {among} "
                "texts did not enter its vector. Split long texts; truncated() tells which. This is said once"
            )
            warnings.warn(msg, TruncatedTextWarning, stacklevel=2)
