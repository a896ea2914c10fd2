"""`ClapEmbeddings`: sounds and texts to vectors of one space, by a CLAP model of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock
from typing import Any, Final

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from numpy.typing import ArrayLike, NDArray

from langchain_mmrag._extras import require
from langchain_mmrag.embeddings._hub import load_with_processor, model_fingerprint, name_or_parts
from langchain_mmrag.embeddings._inputs import checked_texts, chunks
from langchain_mmrag.errors import EmbeddingError

_DEFAULT: Final = "laion/clap-htsat-unfused"
_VERSION: Final = 1  # of how a long sound becomes one vector


class ClapEmbeddings(Embeddings):
    """Text and sound to unit vectors that can be compared: "rain on a roof" with a recording of it.

    ```python
    clap = ClapEmbeddings()
    text = clap.embed_query("a dog barking")
    sounds = clap.embed_audio([recording])  # float32 in -1..1, mono, at clap.sampling_rate
    ```

    The model hears 10 seconds. A shorter sound is repeated to fill them, as in its training. A longer one is
    cut into windows of 10 seconds, spread evenly so that they cover it, and its vector is the mean of theirs:
    the same sound has the same vector in every run, which the random crops of transformers do not give. Of a
    very long one `max_windows` are heard.

    Weights are read at first use. Threads may share one instance.

    Paper: Wu et al. 2023, Large-Scale Contrastive Language-Audio Pretraining,
    https://arxiv.org/abs/2211.06687.

    Args:
        model: Name or folder of a `ClapModel`, or a loaded model with its processor.
        batch_size: Texts or windows of sound per forward pass.
        max_windows: Of one sound; 30 are five minutes.
        device: `"cpu"`, `"cuda"`, `"mps"`; the fastest there is by default. A loaded model stays where it is.

    Raises:
        ValueError: If `model` is none of these, or a number is below 1.
    """

    def __init__(
        self,
        model: Any = _DEFAULT,
        *,
        batch_size: int = 16,
        max_windows: int = 30,
        device: str | None = None,
    ) -> None:
        if batch_size < 1 or max_windows < 1:
            msg = f"batch_size and max_windows must be 1 or more, not {batch_size} and {max_windows}"
            raise ValueError(msg)
        self.model = name_or_parts(model)
        self.batch_size = batch_size
        self.max_windows = max_windows
        self.device = device
        self._lock = RLock()
        self._loaded: tuple[Any, Any] | None = None
        self._fingerprint: str | None = None

    def __repr__(self) -> str:
        named = self.model if isinstance(self.model, str) else type(self.model[0]).__name__
        return f"ClapEmbeddings({named!r})"

    @property
    def fingerprint(self) -> str:
        """Equal for vectors that can be compared; reads no weights of a model asked for by name.

        Raises:
            ModelUnavailableError: If the model is a folder without weights.
        """
        if self._fingerprint is None:
            self._fingerprint = f"clap:{model_fingerprint(self.model)}:{_VERSION}-{self.max_windows}"
        return self._fingerprint

    @property
    def has_fixed_weights(self) -> bool:
        """Whether its weights are its own: a model that was handed in may be trained further at any time."""
        return isinstance(self.model, str)

    @property
    def sampling_rate(self) -> int:
        """Samples a second that `embed_audio` takes: 48,000 of every published model.

        Raises:
            MissingDependencyError: If the extra `transformers` is not installed.
            ModelUnavailableError: If the model is not here and cannot be fetched.
        """
        return int(self._ready()[1].feature_extractor.sampling_rate)

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        return int(self._ready()[0].config.projection_dim)

    def embed_query(self, text: str) -> list[float]:
        """Embed one text."""
        return self.embed_documents([text])[0]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts; one list of floats of unit norm each, in the order given.

        A text longer than the model reads (512 tokens) is cut.

        Raises:
            TypeError: If one of them is not a `str`.
            MissingDependencyError: If the extra `transformers` is not installed.
            ModelUnavailableError: If the model is not here and cannot be fetched.
            EmbeddingError: If the model gives no usable vector for one.
        """
        texts = checked_texts(texts)
        vectors: list[list[float]] = []
        for rows in chunks(range(len(texts)), self.batch_size):
            features = self._text_features([texts[row] for row in rows])
            vectors += _unit_rows(features, [f"text {row}" for row in rows]).tolist()
        return vectors

    def embed_audio(self, sounds: Sequence[ArrayLike]) -> list[list[float]]:
        """Embed sounds; one list of floats of unit norm each, in the order given.

        Args:
            sounds: Of each its samples [n], floats in -1..1 at `sampling_rate`, one channel.

        Raises:
            EmbeddingError: If one of them is none of that, is empty, or holds NaN or infinity.
            MissingDependencyError: If the extra `transformers` is not installed.
            ModelUnavailableError: If the model is not here and cannot be fetched.
        """
        vectors: list[list[float]] = []
        for place, sound in enumerate(sounds):
            samples = _checked(sound, f"sound {place}")
            windows = self._windows(samples)
            parts = [
                self._audio_features([windows[row] for row in rows])
                for rows in chunks(range(len(windows)), self.batch_size)
            ]
            mean = _unit_rows(np.concatenate(parts), [f"sound {place}"] * len(windows)).mean(axis=0)
            vectors += _unit_rows(mean[None], [f"sound {place}"]).tolist()
        return vectors

    async def aembed_audio(self, sounds: Sequence[ArrayLike]) -> list[list[float]]:
        """Embed sounds in a worker thread; see `embed_audio`."""
        return await run_in_executor(None, self.embed_audio, sounds)

    def _windows(self, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Stretches of as much as the model hears, evenly spread; the whole if it is no longer."""
        heard = int(self._ready()[1].feature_extractor.nb_max_samples)
        if len(samples) <= heard:
            return [samples]
        count = min(-(-len(samples) // heard), self.max_windows)
        starts = np.linspace(0, len(samples) - heard, count) if count > 1 else [(len(samples) - heard) / 2]
        return [samples[int(start) : int(start) + heard] for start in starts]

    def _text_features(self, texts: list[str]) -> NDArray[np.float64]:
        torch = require("torch", extra="transformers")
        model, processor = self._ready()
        with self._lock, torch.inference_mode():
            inputs = processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            return _array(model.get_text_features(**inputs.to(model.device)))

    def _audio_features(self, windows: list[NDArray[np.float32]]) -> NDArray[np.float64]:
        torch = require("torch", extra="transformers")
        model, processor = self._ready()
        with self._lock, torch.inference_mode():
            inputs = processor.feature_extractor(
                windows, sampling_rate=self.sampling_rate, return_tensors="pt"
            ).to(model.device, dtype=model.dtype)
            # of sounds that fit, the extractor marks one by chance as longer, for the sake of training
            inputs["is_longer"] = torch.zeros(len(windows), 1, dtype=torch.bool, device=model.device)
            return _array(model.get_audio_features(**inputs))

    def _ready(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                if isinstance(self.model, str):
                    self._loaded = load_with_processor(self.model, "ClapModel", self.device)
                else:
                    self._loaded = (self.model[0], self.model[1])
                self._loaded[0].eval()
            return self._loaded


def _array(features: Any) -> NDArray[np.float64]:
    # a tensor in transformers 4, an output that holds one in 5
    tensor = getattr(features, "pooler_output", features)
    array: NDArray[np.float64] = tensor.double().cpu().numpy()
    return array


def _unit_rows(vectors: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)))
    if bad.size:
        msg = f"{names[bad[0]]}: the vector made of it is zero or no number; check the model's weights"
        raise EmbeddingError(msg)
    unit: NDArray[np.float64] = vectors / norms
    return unit


def _checked(sound: ArrayLike, name: str) -> NDArray[np.float32]:
    given = np.asarray(sound)
    if given.dtype.kind != "f":
        msg = f"{name} holds {given.dtype}: give floats in -1..1 (16-bit samples divided by 32768)"
        raise EmbeddingError(msg)
    if given.ndim != 1 or not given.size:
        what = "is empty" if not given.size else f"has the shape {given.shape}"
        msg = f"{name} {what}: give the samples [n] of one channel"
        raise EmbeddingError(msg)
    if not np.isfinite(given).all():
        msg = f"{name} holds NaN or infinity"
        raise EmbeddingError(msg)
    samples: NDArray[np.float32] = given.astype(np.float32)
    return samples
