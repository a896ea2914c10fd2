"""Speech for tests: eSpeak NG reads a text aloud."""

import ctypes
import wave

import espeakng_loader
import numpy as np

_RETRIEVAL, _UTF8 = 1, 1
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(ctypes.c_void_p)
)
_RATE_PARAMETER, _GAP_PARAMETER = 1, 7


class _Speaker:
    """The library, loaded once: it keeps one voice and one speed for the process."""

    def __init__(self):
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.rate = self.library.espeak_Initialize(_RETRIEVAL, 0, data, 0)
        assert self.rate > 0, "eSpeak NG did not start"
        self.pieces = []
        self.callback = _CALLBACK(self._take)  # kept: the library holds only its address
        self.library.espeak_SetSynthCallback(self.callback)

    def _take(self, samples, count, events):
        if samples and count:
            self.pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text, *, voice, words_a_minute, gap):
        self.pieces = []
        assert self.library.espeak_SetVoiceByName(voice.encode()) == 0
        self.library.espeak_SetParameter(_RATE_PARAMETER, words_a_minute, 0)
        self.library.espeak_SetParameter(_GAP_PARAMETER, gap, 0)
        data = text.encode() + b"\0"
        assert self.library.espeak_Synth(data, len(data), 0, 0, 0, _UTF8, None, None) == 0
        self.library.espeak_Synchronize()
        return np.concatenate(self.pieces or [np.zeros(0, np.int16)])


_speakers = []


def spoken(text, *, rate=16000, voice="en-us", words_a_minute=130, gap=2):
    """A text as int16 samples at `rate` a second, one channel."""
    if not _speakers:
        _speakers.append(_Speaker())
    samples = _speakers[0].say(text, voice=voice, words_a_minute=words_a_minute, gap=gap)
    times = np.arange(0, len(samples), _speakers[0].rate / rate)
    return np.interp(times, np.arange(len(samples)), samples).astype(np.int16)


def silence(seconds, *, rate=16000):
    """No sound, with the little noise that a microphone always has."""
    return np.random.default_rng(0).integers(-3, 4, int(seconds * rate)).astype(np.int16)


def speech_file(path, *said, rate=16000):
    """A WAV file of texts and of pauses, whose lengths are numbers of seconds."""
    sounds = [
        silence(one, rate=rate) if isinstance(one, (int, float)) else spoken(one, rate=rate) for one in said
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.concatenate(sounds).tobytes())
    return path
