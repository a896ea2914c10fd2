"""Speech to words with times: the seam for recognisers, and two of them.

A recogniser gets sound as a stream and gives segments as a stream, so that hours of it need no more memory
than minutes: `utterances` cuts the stream at pauses, and no more than one utterance is held.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from langchain_mmrag._extras import require
from langchain_mmrag.errors import MMRAGError, ModelUnavailableError

SAMPLE_RATE: Final = 16_000
"""Samples a second of the sound that a `Transcriber` gets."""

Sound: TypeAlias = NDArray[np.float32]
"""Samples [n] of one channel, between -1 and 1."""

LONGEST_UTTERANCE_S: Final = 28.0
_FRAME: Final = SAMPLE_RATE * 3 // 100  # 30 ms
_FRAME_S: Final = _FRAME / SAMPLE_RATE
_QUIETEST: Final = 0.002  # of full scale: below it nothing is speech
_ABOVE_NOISE: Final = 3.0
_MARGIN_FRAMES: Final = 7
_NOISE_FRAMES: Final = 400
_INT16: Final = 32767
_SAMPLED: Final = 2**20  # bytes of a model's file, at either end, that tell it from others
_LOUDNESS: Final = 0.05  # root of the mean square, of full scale
_HISS: Final = 30.0  # standard deviation, in steps of 16 bits


@dataclass(frozen=True)
class Segment:
    """Words that were spoken without a pause, or a line of subtitles.

    Attributes:
        start_s: Seconds from the beginning of the sound.
        end_s: Seconds from the beginning of the sound.
        text: What was said.
        confidence: How sure the recogniser is, 0 to 1; `None` if it does not say.
    """

    start_s: float
    end_s: float
    text: str
    confidence: float | None = None


@runtime_checkable
class Transcriber(Protocol):
    """Recognises speech.

    Attributes:
        fingerprint: Names the recogniser, its model and its settings: files are read anew if it changes.
    """

    @property
    def fingerprint(self) -> str:
        """See the class."""
        ...

    def transcribe(self, sound: Iterable[Sound]) -> Iterator[Segment]:
        """Yield what is said, in order, while the sound is read.

        Args:
            sound: Pieces of any length that follow on one another, `SAMPLE_RATE` samples a second.
        """
        ...


@dataclass(frozen=True, eq=False)
class Utterance:
    """A stretch of sound with speech in it, and some of the quiet around it.

    Attributes:
        start_s: Seconds from the beginning of the sound.
        samples: See `Sound`.
    """

    start_s: float
    samples: Sound


def utterances(
    sound: Iterable[Sound], *, longest_s: float = LONGEST_UTTERANCE_S, pause_s: float = 0.45
) -> Iterator[Utterance]:
    """Cut sound at its pauses, and leave out what is no louder than the noise behind it.

    Only an utterance is held at a time. One without a pause is cut where it is quietest.

    Args:
        sound: Pieces of any length, `SAMPLE_RATE` samples a second.
        longest_s: No utterance is longer.
        pause_s: Quiet of this length ends an utterance.
    """
    cutter = _Cutter(max(1, round(pause_s / _FRAME_S)), max(2, int(longest_s / _FRAME_S)))
    for frame in _frames(sound):
        yield from cutter.take(frame)
    yield from cutter.rest()


def _frames(sound: Iterable[Sound]) -> Iterator[Sound]:
    """Pieces of `_FRAME` samples; the last one may be shorter."""
    left = np.zeros(0, np.float32)
    for piece in sound:
        left = np.concatenate([left, piece])
        whole = len(left) // _FRAME * _FRAME
        yield from left[:whole].reshape(-1, _FRAME)
        left = left[whole:]
    if len(left):
        yield left


class _Cutter:
    """Takes frames one by one and gives utterances when they end."""

    def __init__(self, pause: int, longest: int) -> None:
        self.pause, self.longest = pause, longest
        self.frames: list[Sound] = []  # of the utterance, or the margin before the next one
        self.levels: list[float] = []
        # Levels of late, whose quiet part is the noise. Quiet at first: speech may begin with the recording.
        self.heard: list[float] = [0.0] * (_NOISE_FRAMES // 20)
        self.speaking = False
        self.quiet = 0
        self.number = 0

    def take(self, frame: Sound) -> Iterator[Utterance]:
        level = float(np.sqrt(np.mean(np.square(frame, dtype=np.float64))))
        loud = level > self._threshold(level)
        self.frames.append(frame)
        self.levels.append(level)
        self.number += 1
        self.quiet = 0 if loud else self.quiet + 1
        if not self.speaking:
            self.speaking = loud
            if not loud:
                self._drop(len(self.frames) - _MARGIN_FRAMES)
        elif self.quiet >= self.pause:
            yield self._cut(len(self.frames) - max(0, self.quiet - _MARGIN_FRAMES))
            self.speaking = False
            self._drop(len(self.frames) - _MARGIN_FRAMES)
        elif len(self.frames) >= self.longest:
            late = len(self.frames) * 2 // 3
            yield self._cut(late + int(np.argmin(self.levels[late:])))

    def rest(self) -> Iterator[Utterance]:
        if self.speaking:
            yield self._cut(len(self.frames))

    def _threshold(self, level: float) -> float:
        self.heard.append(level)
        if len(self.heard) > 2 * _NOISE_FRAMES:
            del self.heard[:_NOISE_FRAMES]
        noise = float(np.partition(self.heard, len(self.heard) // 10)[len(self.heard) // 10])
        return max(_QUIETEST, _ABOVE_NOISE * noise)

    def _drop(self, count: int) -> None:
        if count > 0:
            del self.frames[:count], self.levels[:count]

    def _cut(self, count: int) -> Utterance:
        start = (self.number - len(self.frames)) * _FRAME_S
        samples = np.concatenate(self.frames[:count])
        self._drop(count)
        return Utterance(start, samples)


class PocketSphinxTranscriber:
    """English speech by PocketSphinx, whose package brings its model: small, offline, and not very exact.

    Good for finding by single words, better the fewer words there may be: see `vocabulary`. For talks and
    meetings use `FasterWhisperTranscriber`.

    Args:
        vocabulary: The only words there are, such as those of commands or of digits; any English by default.
        min_confidence: Words that it is less sure of, 0 to 1, are left out.
    """

    def __init__(self, *, vocabulary: Sequence[str] = (), min_confidence: float = 0.0) -> None:
        if isinstance(vocabulary, str):
            msg = f"vocabulary must be a list of words: write vocabulary={vocabulary.split()!r}"
            raise TypeError(msg)
        self.vocabulary = tuple(sorted({word.lower() for line in vocabulary for word in line.split()}))
        self.min_confidence = min_confidence
        self._decoder: Any = None
        self._means = ""
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """The package's name and those options that were given."""
        words = f":words={'+'.join(self.vocabulary)}" if self.vocabulary else ""
        sure = f":min_confidence={self.min_confidence:g}" if self.min_confidence else ""
        return f"pocketsphinx{words}{sure}"

    def transcribe(self, sound: Iterable[Sound]) -> Iterator[Segment]:
        """Yield a segment for each utterance.

        Raises:
            MissingDependencyError: If PocketSphinx is not installed.
            ValueError: If a word of `vocabulary` is not in its dictionary.
        """
        heard = _Heard()
        for utterance in utterances(sound):
            segment = self._segment(utterance, heard)
            if segment is not None:
                yield segment

    def _segment(self, utterance: Utterance, heard: _Heard) -> Segment | None:
        data = heard.leveled(utterance.samples)
        with self._lock:  # one decoder, one utterance at a time
            decoder = self._loaded()
            decoder.reinit_feat()  # or what it heard last shows in what it hears next
            decoder.set_cmn(heard.means or self._means)
            decoder.start_utt()
            decoder.process_raw(data, no_search=False, full_utt=True)
            decoder.end_utt()
            heard.means = decoder.get_cmn(True)
            log = decoder.logmath
            words = [(_spelt(one.word), one, min(1.0, log.exp(one.prob))) for one in decoder.seg() or ()]
        words = [row for row in words if row[0] and row[2] >= self.min_confidence]
        if not words:
            return None
        rate = 100  # frames a second
        return Segment(
            utterance.start_s + words[0][1].start_frame / rate,
            utterance.start_s + (words[-1][1].end_frame + 1) / rate,
            " ".join(word for word, _, _ in words),
            math.fsum(sure for _, _, sure in words) / len(words),
        )

    def _loaded(self) -> Any:
        if self._decoder is None:
            sphinx = require("pocketsphinx", extra="audio")
            decoder = sphinx.Decoder(loglevel="FATAL", cmn="batch")
            if self.vocabulary:
                missing = [word for word in self.vocabulary if decoder.lookup_word(word) is None]
                if missing:
                    msg = f"PocketSphinx has no pronunciation of {', '.join(missing)}: leave it out"
                    raise ValueError(msg)
                words = " | ".join(self.vocabulary)
                decoder.add_jsgf_string("words", f"#JSGF V1.0; grammar words; public <said> = ({words})+;")
                decoder.activate_search("words")
            self._means = decoder.get_cmn(False)
            self._decoder = decoder
        return self._decoder


class _Heard:
    """What is known of one recording's sound: another one, heard meanwhile, changes nothing here.

    Attributes:
        means: Of the features so far, in PocketSphinx's writing.
    """

    def __init__(self) -> None:
        self.means = ""
        self._noise = np.random.default_rng(0)

    def leveled(self, samples: Sound) -> bytes:
        """Samples as loud as those that the model was trained on, with the noise every microphone has.

        Without it, sound that was made or cleaned by a machine is far from all it knows: of clear synthetic
        speech it gets a quarter of the words wrong with this noise, two thirds without.
        """
        loudness = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
        leveled = samples * (_LOUDNESS / max(loudness, _QUIETEST)) * _INT16
        leveled = leveled + self._noise.normal(0, _HISS, len(samples))
        return np.clip(leveled, -_INT16, _INT16).astype("<i2").tobytes()


def _spelt(word: str) -> str:
    """A word without the number of its pronunciation; nothing for noises and pauses."""
    return "" if word.startswith(("<", "[", "++")) else word.partition("(")[0]


class FasterWhisperTranscriber:
    """Speech in many languages by Whisper, run by CTranslate2 through faster-whisper.

    Args:
        model: Name such as `small` (fetched once from the Hugging Face hub) or folder of a converted model.
        language: Such as `en`; told from the sound if it is not given.
        device: `cpu`, `cuda` or `auto`.
        compute_type: Numbers to compute with, such as `int8` or `float16`.
        beam_size: Readings that are followed at a time; 1 is fastest.
    """

    def __init__(
        self,
        model: str,
        *,
        language: str | None = None,
        device: str = "auto",
        compute_type: str = "default",
        beam_size: int = 5,
    ) -> None:
        self.model = model
        self.language = language
        self.device = device
        self.compute_type = compute_type
        self.beam_size = beam_size
        self._whisper: Any = None
        self._lock = threading.Lock()

    @cached_property
    def fingerprint(self) -> str:
        """The model's name, of a folder with a digest of its files, and those options that were given."""
        given = [f"language={self.language}"] if self.language else []
        given += [f"compute_type={self.compute_type}"] if self.compute_type != "default" else []
        given += [f"beam_size={self.beam_size}"] if self.beam_size != 5 else []  # noqa: PLR2004
        return ":".join(["whisper", _model_name(self.model), *given])

    def transcribe(self, sound: Iterable[Sound]) -> Iterator[Segment]:
        """Yield Whisper's segments, window by window.

        Raises:
            MissingDependencyError: If faster-whisper is not installed.
            ModelUnavailableError: If the model is neither here nor reachable.
        """
        # It reads windows of 30 s whatever is in them: only long pauses are worth a new one.
        for utterance in utterances(sound, pause_s=2.0):
            yield from self._segments(utterance)

    def _segments(self, utterance: Utterance) -> list[Segment]:
        with self._lock:
            segments, _ = self._loaded().transcribe(
                utterance.samples,
                language=self.language,
                beam_size=self.beam_size,
                condition_on_previous_text=False,  # else a loop in one window goes on in the next
            )
            found = list(segments)
        end = len(utterance.samples) / SAMPLE_RATE
        return [
            Segment(
                utterance.start_s + min(one.start, end),
                utterance.start_s + min(max(one.start, one.end), end),
                one.text.strip(),
                math.exp(min(0.0, one.avg_logprob)),
            )
            for one in found
            if one.text.strip()
        ]

    def _loaded(self) -> Any:
        if self._whisper is None:
            whisper = require("faster_whisper", extra="whisper")
            try:
                self._whisper = whisper.WhisperModel(
                    self.model, device=self.device, compute_type=self.compute_type
                )
            except (OSError, ValueError, RuntimeError) as error:  # of the hub, of names, of CTranslate2
                msg = (
                    f"Whisper's model {self.model!r} cannot be loaded ({type(error).__name__}: {error}): "
                    "name one that faster-whisper knows and can fetch, or the folder of a converted model"
                )
                raise ModelUnavailableError(msg) from error
        return self._whisper


def _model_name(model: str) -> str:
    """What tells one model from another: a folder that is moved is the same one, one of its name is not."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    digest = sha256()
    with suppress(OSError):  # told when it is loaded
        for path in sorted(each for each in folder.iterdir() if each.is_file()):
            size = path.stat().st_size
            digest.update(f"{path.name}:{size}:".encode())
            with path.open("rb") as file:
                digest.update(file.read(_SAMPLED))
                file.seek(max(0, size - _SAMPLED))
                digest.update(file.read(_SAMPLED))
    return f"{folder.resolve().name}-{digest.hexdigest()[:12]}"


def transcriber_named(name: str) -> Transcriber:
    """The recogniser that a name of the command line stands for.

    Args:
        name: `pocketsphinx`, or `whisper:MODEL`, such as `whisper:small` or `whisper:/models/mine`.

    Raises:
        MMRAGError: If it is neither.
    """
    kind, _, model = name.partition(":")
    if kind == "pocketsphinx" and not model:
        return PocketSphinxTranscriber()
    if kind == "whisper" and model:
        return FasterWhisperTranscriber(model)
    msg = f"no transcriber is called {name!r}: use pocketsphinx, or whisper:MODEL such as whisper:small"
    raise MMRAGError(msg)
