"""Small films for the tests of key frames: red, then green, then blue."""

import av
import numpy as np

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def film_file(path, *, seconds=6, fps=10, size=(96, 64), rotation=None):
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
    """A second of silence, without pictures."""
    with av.open(str(path), "w") as sound:
        stream = sound.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        sound.mux(stream.encode(frame))
        sound.mux(stream.encode())
    return path


def colour_names(frames):
    """Which of the three colours each frame shows."""
    names = ("red", "green", "blue")
    return [names[int(np.argmax(np.asarray(frame.convert("RGB")).mean(axis=(0, 1))))] for frame in frames]
