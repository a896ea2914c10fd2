"""From an opened image to the pixels a CLIP model is fed: open_clip's own preprocessing, with less work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langchain_mmrag.media.decode import PICTURE_BOX

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image, Resampling

_DRAFT = 2  # a JPEG is decoded to no less than this many times the target:
_DRAFT_FROM = 224  # smaller targets are reached from so few pixels that vectors move (cosine .986 at 64)
_TO_RGB = {"_convert_to_rgb", "MaybeConvertMode"}  # by name, as releases of open_clip differ
_TALL = 2  # height to width
_SUPPORT = 3  # pixels either side of one that the widest filter reads, at scale 1


class Pixels:
    """What becomes of an image before the image tower sees it.

    The steps are read from the model's own preprocessing. Resize and centre crop become one, so
    that no pixel is computed to be cut off; the result differs by one grey
    level at most, in some values per million by two.
    Steps other than those of open_clip are left alone: their images arrive as they were opened.

    Thread-safe; several threads may shrink images at once.

    Args:
        preprocess: PIL image to float tensor [3, height, width].
        exact: Decode in full and take open_clip's own steps one by one.

    Attributes:
        size: Width and height of the model's input; None if the steps are unknown.
        mean: Of each channel, for values of 0 to 1; None if the steps are unknown.
        std: Likewise, the standard deviation.
        min_side: The least shorter side, in pixels, that a JPEG may be decoded to; None to decode in full.
    """

    def __init__(self, preprocess: Callable[[Image], torch.Tensor], *, exact: bool = False) -> None:
        self.preprocess = preprocess
        self.size: tuple[int, int] | None = None
        self.mean: tuple[float, float, float] | None = None
        self.std: tuple[float, float, float] | None = None
        self.min_side: int | None = None
        self._shrink: Callable[[Image], Image] = _unchanged
        steps = _known_steps(preprocess)
        if steps is None:
            return
        small, normalize = steps
        height, width = _pair(small[-1].size)
        self.size = width, height
        self.mean, self.std = _three(normalize.mean), _three(normalize.std)
        self._shrink = _step_by_step(small) if exact else _folded(small) or _step_by_step(small)
        if not exact and min(self.size) >= _DRAFT_FROM:
            self.min_side = _DRAFT * max(self.size)

    def shrink(self, image: Image) -> Image:
        """An upright RGB image as the model's input sees it, 8 bits a channel."""
        return self._shrink(image)

    def stack(self, images: Sequence[Image]) -> NDArray[np.uint8]:
        """Images, shrunk or not, as one array [n, 3, height, width] of 0 to 255.

        Raises:
            ValueError: If the steps of the preprocessing are unknown (`mean` is None).
        """
        if self.size is None:
            msg = "this preprocessing is not made of open_clip's steps: only tensor() can follow it"
            raise ValueError(msg)
        width, height = self.size
        pixels = np.empty((len(images), height, width, 3), dtype=np.uint8)
        for row, image in zip(pixels, images, strict=True):
            row[:] = np.asarray(image if image.size == self.size else self.shrink(image))
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))

    def tensor(self, images: Sequence[Image]) -> torch.Tensor:
        """Images, shrunk or not, as the float tensor [n, 3, height, width] that the model takes."""
        import torch

        if self.mean is None or self.std is None:
            return torch.stack([self.preprocess(image) for image in images])
        mean, std = (torch.tensor(part).view(3, 1, 1) for part in (self.mean, self.std))
        return torch.from_numpy(self.stack(images)).float().div_(255).sub_(mean).div_(std)


def _unchanged(image: Image) -> Image:
    return image


def _known_steps(preprocess: Any) -> tuple[list[Any], Any] | None:
    """The steps that make an image small, and the last, which normalises it; None if there are others."""
    from open_clip.transform import CenterCropOrPad, ResizeKeepRatio
    from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

    if type(preprocess) is not Compose:
        return None
    kinds = (Resize, ResizeKeepRatio, CenterCrop, CenterCropOrPad)
    small = list(takewhile(lambda step: type(step) in kinds, preprocess.transforms))
    rest = preprocess.transforms[len(small) :]
    is_resize = bool(small) and type(small[0]) in {Resize, ResizeKeepRatio}
    sizes = [_pair(step.size) for step in small]
    # A single side given to a lone Resize leaves the other one open.
    is_whole = is_resize and (len(small) > 1 or not _is_one_side(small[0].size)) and sizes[0] == sizes[-1]
    if not is_whole or not rest or type(rest[-1]) is not Normalize or len(rest[-1].mean) not in {1, 3}:
        return None
    between = [step for step in rest[:-1] if _name(step) not in _TO_RGB]
    if len(between) != 1 or not isinstance(between[0], ToTensor):
        return None
    return small, rest[-1]


def _name(step: Any) -> str:
    return str(getattr(step, "__name__", type(step).__name__))


def _is_one_side(size: Any) -> bool:
    return isinstance(size, int) or len(size) == 1


def _pair(size: Any) -> tuple[int, int]:
    """Height and width, as torchvision writes sizes."""
    height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    return int(height), int(width)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in (values if len(values) != 1 else [*values] * 3))
    return red, green, blue


def _folded(steps: Sequence[Any]) -> Callable[[Image], Image] | None:
    """Resize of the shorter side, then centre crop to a square, as one resize; None for other steps."""
    from torchvision.transforms import CenterCrop, Resize
    from torchvision.transforms.functional import InterpolationMode as Mode
    from torchvision.transforms.functional import pil_modes_mapping

    if [type(step) for step in steps] != [Resize, CenterCrop]:
        return None
    resize, crop = steps
    smooth = {Mode.BILINEAR, Mode.BICUBIC, Mode.LANCZOS}
    is_square = _is_one_side(resize.size) and len(set(_pair(crop.size))) == 1
    if not is_square or resize.max_size is not None or resize.interpolation not in smooth:
        return None
    side, resample = _pair(crop.size)[0], pil_modes_mapping[resize.interpolation]

    def shrink(image: Image) -> Image:
        box = image.info.get(PICTURE_BOX)
        return (
            _crop_resized(image, side, resample) if box is None else _cropped_box(image, box, side, resample)
        )

    return shrink


def _cropped_box(image: Image, box: Sequence[float], side: int, resample: Resampling) -> Image:
    """The middle square of the picture that lies within `box`, in parts of a pixel, at `side`."""
    left, top, right, bottom = box
    short, long = sorted((right - left, bottom - top))
    length = int(side * long / short)  # that of the stored picture, which is 2^n as large
    offset, scale = round((length - side) / 2), long / length
    first, last = offset * scale, (offset + side) * scale
    if right - left > bottom - top:
        left, right = left + first, left + last
    else:
        top, bottom = top + first, top + last
    small = image.resize((side, side), resample, (left, top, right, bottom))
    del small.info[PICTURE_BOX]
    return small


def _crop_resized(image: Image, side: int, resample: Resampling) -> Image:
    """The middle square of an image, shrunk or grown to `side`, rounded as torchvision rounds.

    Pillow rounds to 8 bits between its pass over the columns and its pass over the rows, so each must come
    when it would in a resize of the whole: columns first. Since release 13 rows come first in a picture that
    is shrunk and more than twice as high as it is wide; there it is left to choose, old or new.
    """
    short, long = min(image.size), max(image.size)
    length = int(side * long / short)
    offset, scale = round((length - side) / 2), long / length
    first, last = offset * scale, (offset + side) * scale
    if image.height > _TALL * image.width and image.width > side:
        return image.resize((side, side), resample, (0, first, image.width, last))
    margin = ceil(_SUPPORT * max(1.0, scale)) + 1
    start, end = max(0, floor(first) - margin), min(long, ceil(last) + margin)
    if image.width > image.height:
        if long > side * short:  # Pillow's boxes are of single precision, too coarse far along a strip
            image, first, last = image.crop((start, 0, end, short)), first - start, last - start
        columns = image.resize((side, short), resample, (first, 0, last, short))
        return columns.resize((side, side), resample)
    columns = image.crop((0, start, short, end)).resize((side, end - start), resample)
    return columns.resize((side, side), resample, (0, first - start, side, last - start))


def _step_by_step(steps: Sequence[Any]) -> Callable[[Image], Image]:
    """open_clip's own steps. A strip of 60,000 by 1 pixels is cut to its middle first.

    Whole, it would take gigabytes before its middle is cropped, or be shrunk to a height of nothing.
    """
    from torchvision.transforms import Compose

    resize, ratio = Compose(steps), min(_pair(steps[0].size))

    def shrink(image: Image) -> Image:
        small: Image = resize(_middle(image, ratio))
        return small

    return shrink


def _middle(image: Image, ratio: int) -> Image:
    """The middle of an image more than `ratio` times as long as it is wide; any other as it is."""
    limit = ratio * min(image.size)
    if max(image.size) <= limit:
        return image
    left, top = ((side - min(side, limit)) // 2 for side in image.size)
    width, height = (min(side, limit) for side in image.size)
    return image.crop((left, top, left + width, top + height))
