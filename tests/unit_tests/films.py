"""Small films, encoded here: red, then green, then blue; or scenes of given pictures, with sound and words."""

from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from PIL import Image

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def film_file(path, *, seconds=6, fps=10, size=(96, 64)):
    """A film whose three thirds each show one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = seconds * fps
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 12
        for number in range(count):
            pixels = np.full((size[1], size[0], 3), COLOURS[number * 3 // count], np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        film.mux(stream.encode())
    return path


def sound_file(path):
    """A second of a tone of 2 kHz, without pictures."""
    with av.open(str(path), "w") as sound:
        stream = sound.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = np.tile(np.array([0, 9000, 0, -9000], np.int16), 2000)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = 8000
        sound.mux(stream.encode(frame))
        sound.mux(stream.encode())
    return path


def colour_names(frames):
    """Which of the three colours each frame shows."""
    names = ("red", "green", "blue")
    return [names[int(np.argmax(np.asarray(frame.convert("RGB")).mean(axis=(0, 1))))] for frame in frames]


_ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


@dataclass(kw_only=True)
class Film:
    """How a film of scenes is made: see `scenes_file`."""

    each_s: float = 4.0
    fade_s: float = 0.0
    fps: int = 10
    size: tuple = (320, 240)
    moving: bool = True
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    key_s: float = 5.0  # at most, between key frames
    options: dict = field(default_factory=lambda: {"preset": "ultrafast", "sc_threshold": "0"})
    rotation: int = 0
    start_s: float = 0.0  # of the picture; sound starts at 0
    uneven: bool = False  # every other frame comes late
    title: str = ""
    sound: np.ndarray | None = None  # int16, 16 kHz
    sound_codec: str = "aac"
    subtitles: tuple = ()  # of (start_s, end_s, text)
    container: dict = field(default_factory=dict)  # options of the muxer


def scenes_file(path, pictures, film=None, **options):
    """A film that shows one picture after the other, each slowly coming nearer, with sound and subtitles."""
    film = film or Film(**options)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=film.container) as out:
        if film.title:
            out.metadata["title"] = film.title
        video = out.add_stream(film.codec, rate=film.fps, options=film.options)
        video.width, video.height = film.size
        video.pix_fmt = film.pix_fmt
        video.gop_size = max(1, round(film.key_s * film.fps))
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        if film.rotation:
            video.set_display_rotation(film.rotation)
        sound = (
            out.add_stream(film.sound_codec, rate=16000, layout="mono") if film.sound is not None else None
        )
        words = out.add_stream("mov_text") if film.subtitles else None
        if words is not None:
            words.codec_context.subtitle_header = _ASS_HEADER
        if sound is not None:
            _mux_sound(out, sound, film.sound)
        for number, pixels in enumerate(_shown(pictures, film)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[-1] == 4 else "rgb24")
            late = 0.6 / film.fps if film.uneven and number % 2 else 0.0
            frame.pts = round((number / film.fps + film.start_s + late) * 1000)
            frame.time_base = Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        for start, end, text in film.subtitles:
            packet = av.Packet(len(text.encode()).to_bytes(2, "big") + text.encode())
            packet.stream, packet.time_base = words, Fraction(1, 1000)
            packet.pts = packet.dts = round(start * 1000)
            packet.duration = round((end - start) * 1000)
            out.mux(packet)
    return path


def _shown(pictures, film):
    """The pixels of each frame."""
    each, fade = round(film.each_s * film.fps), round(film.fade_s * film.fps)
    for number, picture in enumerate(pictures):
        still = None if film.moving else _nearer(picture, film, 0)
        for count in range(each):
            pixels = _nearer(picture, film, count) if still is None else still
            if count < fade and number:
                before = _nearer(pictures[number - 1], film, each + count).astype(float)
                pixels = (before + (pixels - before) * (count + 1) / (fade + 1)).astype(np.uint8)
            yield pixels


def _nearer(picture, film, count):
    width, height = picture.size
    crop = (count * 0.004 if film.moving else 0) / 2
    box = (width * crop, height * crop, width * (1 - crop), height * (1 - crop))
    return np.asarray(picture.resize(film.size, Image.Resampling.BILINEAR, box=box))


def _mux_sound(out, stream, samples):
    for at in range(0, len(samples), 1600):
        piece = np.ascontiguousarray(samples[None, at : at + 1600])
        frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, at, Fraction(1, 16000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode())


def tone(seconds, *, pitch=440, loudness=0.3):
    """A tone as int16 samples at 16 kHz."""
    times = np.arange(int(seconds * 16000)) / 16000
    return (np.sin(2 * np.pi * pitch * times) * loudness * 32767).astype(np.int16)
