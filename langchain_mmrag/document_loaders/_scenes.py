"""Where a film changes: samples of it become moments, each with the picture that shows it best."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GRID: Final = (64, 36)  # cells that a picture is averaged to
_COARSE: Final = 4  # cells of the grid on a side of those that layouts are compared by: motion stays inside
_BINS: Final = (16, 8, 8)  # of lightness and of the two colour differences
_WEIGHTS: Final = np.array([0.6, 1.2, 1.2], np.float32)  # of lightness and the colour differences
_CUT: Final = 0.2  # two pictures that differ by less are of one scene, however still the film is
_UNUSUAL: Final = 3.0  # times the change that is usual just there
_REMEMBERED: Final = 20
_SLOW_S: Final = 3.0  # how far back a fade is looked for
_CELL_CHANGED: Final = 12 / 255
_SAME: Final = 0.006  # of the cells; a line of text on a slide changes more
_STILL: Final = 0.002
_SLIDE: Final = 0.03


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture of a film.

    Attributes:
        time_s: When it is on screen, in seconds.
        picture: Upright RGB pixels [h, w, 3], uint8.
        vector: Its unit vector, if an embedding is asked where scenes change.
    """

    time_s: float
    picture: NDArray[np.uint8]
    vector: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Look:
    """What of a picture is compared with others.

    Attributes:
        cells: Lightness and colour differences averaged to the grid [36, 64, 3], 0 to 1.
        histogram: Shares of lightness and of colours; each of the two parts sums to 1.
        sharpness: Mean difference of neighbouring pixels' lightness: 0 for a plain picture.
        vector: See `Sample`.
    """

    cells: NDArray[np.float32]
    histogram: NDArray[np.float32]
    sharpness: float
    vector: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Moment:
    """A stretch of film that looks alike.

    Attributes:
        start_s: Seconds from the film's beginning.
        end_s: Seconds from the film's beginning.
        picture: The pixels that show it.
        look: Of this picture.
        repeats: Whether the picture is that of the moment before.
    """

    start_s: float
    end_s: float
    picture: NDArray[np.uint8]
    look: Look
    repeats: bool = False


Seen = tuple[Sample, Look]


def look_at(sample: Sample) -> Look:
    """What of a picture is compared with others."""
    image = Image.fromarray(sample.picture)
    small = np.asarray(image.resize(_GRID, Image.Resampling.BOX), np.float32) / 255
    red, green, blue = np.moveaxis(small, -1, 0)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    cells = np.stack([light, (red - light + 1) / 2, (blue - light + 1) / 2], axis=-1)
    counts, colours = _BINS[0], _BINS[1] * _BINS[2]
    lightness = np.bincount(np.minimum(light * counts, counts - 1).astype(int).ravel(), minlength=counts)
    first, second = (np.clip((cells[..., i] - 0.25) * 16, 0, 7).astype(int) for i in (1, 2))
    colour = np.bincount((first * _BINS[2] + second).ravel(), minlength=colours)
    histogram = np.concatenate([lightness, colour]).astype(np.float32) / light.size
    fine = np.asarray(image.convert("L"), np.int16)
    sharpness = float(np.abs(np.diff(fine, axis=0)).mean() + np.abs(np.diff(fine, axis=1)).mean())
    return Look(cells, histogram, sharpness, sample.vector)


def difference(one: Look, other: Look) -> float:
    """How much two pictures differ in what is where and in their colours: 0 (not at all) to 1.

    With vectors: their cosine distance.
    """
    if one.vector is not None and other.vector is not None:
        return min(1.0, max(0.0, 1.0 - float(one.vector @ other.vector)))
    layout = np.abs(_coarse(one) - _coarse(other)).mean() * 4
    colours = np.abs(one.histogram - other.histogram).sum() / 4
    return float((min(1.0, layout) + colours) / 2)


def changed_cells(one: Look, other: Look) -> float:
    """The share of the grid's cells that differ: finer than `difference`, it sees a new line on a slide."""
    return float((np.abs(one.cells - other.cells).max(axis=-1) > _CELL_CHANGED).mean())


def same_picture(one: Look, other: Look) -> bool:
    """Whether two pictures show the same, down to a line of text."""
    return changed_cells(one, other) < _SAME


def _coarse(look: Look) -> NDArray[np.float32]:
    height, width, channels = look.cells.shape
    blocks = look.cells.reshape(height // _COARSE, _COARSE, width // _COARSE, _COARSE, channels)
    coarse: NDArray[np.float32] = blocks.mean(axis=(1, 3)) * _WEIGHTS
    return coarse


class SceneCuts:
    """Finds where scenes change: at once, slowly, or by a line on a slide.

    What counts as a change depends on how much changes anyway just there, so that motion is no cut.
    """

    def __init__(self) -> None:
        self._usual: deque[float] = deque(maxlen=_REMEMBERED)
        self._moved: deque[float] = deque(maxlen=_REMEMBERED)
        self._flash: Look | None = None  # seen last: not to be compared with

    def __call__(self, scene: list[Seen], new: Seen, after: Seen | None) -> bool:
        """Whether a new scene begins with `new`.

        Args:
            scene: The samples of the scene so far, at least one.
            new: The sample that follows.
            after: The one after that, `None` at the end of the film.
        """
        steady = [one for one in scene if one[1] is not self._flash] or scene
        last = steady[-1][1]
        step = difference(last, new[1])
        moved = changed_cells(last, new[1])
        limit = max(_CUT, _UNUSUAL * median(self._usual or [0.0]))
        still = median(self._moved or [1.0]) < _STILL
        self._usual.append(min(step, limit))
        self._moved.append(moved)
        if step > limit:
            lasts = after is None or difference(last, after[1]) > limit / 2
            self._flash = None if lasts else new[1]
            return lasts
        if still and moved > _SLIDE:
            return after is None or changed_cells(last, after[1]) > _SLIDE / 2
        back = next((look for one, look in steady if one.time_s >= new[0].time_s - _SLOW_S), last)
        return step < limit / 4 and difference(back, new[1]) > limit


Cut = Callable[[list[Seen], Seen, Seen | None], bool]


def split(
    samples: Iterable[Sample], cut: Cut, *, shortest_s: float, longest_s: float
) -> Iterator[tuple[float, list[Seen]]]:
    """Cut a film into stretches of at least `shortest_s` and about `longest_s` at most.

    Only the samples of one stretch are held.

    Yields:
        When each begins, and its samples.
    """
    scene: list[Seen] = []
    for new, after in _one_ahead((sample, look_at(sample)) for sample in samples):
        lasts = new[0].time_s - scene[0][0].time_s if scene else 0.0
        if scene and (_cut_now(cut, scene, new, after, lasts >= shortest_s) or lasts >= longest_s):
            yield scene[0][0].time_s, scene
            scene = []
        scene.append(new)
    if scene:
        yield scene[0][0].time_s, scene


def _cut_now(cut: Cut, scene: list[Seen], new: Seen, after: Seen | None, long_enough: bool) -> bool:
    return cut(scene, new, after) and long_enough  # in this order: the detector sees every sample


def _one_ahead(items: Iterable[Seen]) -> Iterator[tuple[Seen, Seen | None]]:
    waiting: Seen | None = None
    for item in items:
        if waiting is not None:
            yield waiting, item
        waiting = item
    if waiting is not None:
        yield waiting, None


def best(scene: list[Seen]) -> Seen:
    """The picture that shows a scene: of the sharp ones, that nearest to its middle."""
    times = [sample.time_s for sample, _ in scene]
    middle = (times[0] + times[-1]) / 2
    inner = [one for one in scene if abs(one[0].time_s - middle) <= (times[-1] - times[0]) / 3] or scene
    sharp = max(look.sharpness for _, look in inner) * 0.8
    return min(
        (one for one in inner if one[1].sharpness >= sharp),
        key=lambda one: abs(one[0].time_s - middle),
    )


def moments(
    stretches: Iterable[tuple[float, list[Seen]]], end_s: Callable[[], float], *, longest_s: float
) -> Iterator[Moment]:
    """One moment for each stretch; one that shows what the moment before shows is joined to it.

    Args:
        stretches: What `split` gives.
        end_s: When the film ends, asked for when all of it was read.
        longest_s: No joined moment is longer; the next one repeats its picture.
    """
    waiting: Moment | None = None
    for moment in _unjoined(stretches, end_s):
        if waiting is not None and same_picture(waiting.look, moment.look):
            if moment.end_s - waiting.start_s <= longest_s:
                waiting = replace(waiting, end_s=moment.end_s)
                continue
            moment = replace(moment, repeats=True)  # noqa: PLW2901
        if waiting is not None:
            yield waiting
        waiting = moment
    if waiting is not None:
        yield waiting


def _unjoined(stretches: Iterable[tuple[float, list[Seen]]], end_s: Callable[[], float]) -> Iterator[Moment]:
    waiting: tuple[float, Seen] | None = None
    for start, scene in stretches:
        if waiting is not None:
            yield Moment(waiting[0], start, waiting[1][0].picture, waiting[1][1])
        waiting = (start, best(scene))
    if waiting is not None:
        yield Moment(waiting[0], max(waiting[0], end_s()), waiting[1][0].picture, waiting[1][1])


def spread(items: list[str], count: int) -> list[str]:
    """At most `count` of the items, evenly over all of them, each once."""
    if len(items) <= count:
        return list(dict.fromkeys(items))
    places = [round(i * (len(items) - 1) / (count - 1)) for i in range(count)]
    return list(dict.fromkeys(items[place] for place in places))
