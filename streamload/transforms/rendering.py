"""From a chain to steps: which kernels an image or a mask goes through, and their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.kernels.augment.frame import TURNED_OVER, VERTICAL
from streamload.kernels.augment.plain.filtered import BOX, CUBIC, TRIANGLE
from streamload.kernels.augment.runners import Steps
from streamload.transforms.chain import Chain, Erased, Group, Step
from streamload.transforms.images import StoredImage, check_levels, output_dtype
from streamload.transforms.placement import NOTHING_OUTSIDE, AffinePass, BoxPass, Pass, Placement, Where

FILTERS = {"bicubic": CUBIC, "box": BOX}
AS_THEY_ARE = -1
FLOAT_FILTERS = FILTERS | {"bilinear": TRIANGLE, "nearest-exact": 3, "nearest": 4}
"""As the kernels in float32 count them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What images come out as."""

    dtype: str
    layout: str
    """One of `images.LAYOUTS`."""
    scale: bool

    @property
    def woven(self) -> bool:
        """Whether channels are the last axis."""
        return not self.layout.startswith("C")


def image_steps(chain: Chain, image: StoredImage, out: Output) -> Steps:
    """The steps of the records of a chain whose placement is finished."""
    if chain.depth is not None:
        scale = _scale(chain, image, out)
        fill = levels_for(_outside(chain)[1], image)
        return assemble([_volume("volume", chain, image, out.woven, (*fill, *scale))], chain.placement.records, elements=0)
    render = image_pass if image.dtype == np.uint8 else float_pass
    steps: list[Step | Group] = [render(one, image) for one in chain.placement.passes]
    steps += chain.colors
    steps.append(_output(chain, image, out))
    steps += [_erasing(one, chain.channels, out) for one in chain.erased]
    return assemble(steps, chain.placement.records, elements=chain.most_channels * _pixels(chain.placement))


def mask_steps(chain: Chain, mask: StoredImage, fill: int) -> Steps:
    """The same for a mask, which moves by nearest neighbour and changes no value."""
    placement = chain.placement
    check_levels("mask_fill", (fill,), mask.dtype)
    if chain.depth is not None:
        bits = bits_of(np.full(mask.channels, fill), mask.dtype)
        return assemble([_volume("volume_elements", chain, mask, not mask.planar, bits)], placement.records, elements=0)
    steps: list[Step | Group] = [_nearest_pass(one, mask, bits_of(np.full(mask.channels, fill), mask.dtype)) for one in placement.passes]
    steps.append(step("elements_chw" if mask.planar else "elements_hwc"))
    return assemble(steps, placement.records, elements=mask.channels * _pixels(placement))


def _volume(kernel: str, chain: Chain, image: StoredImage, woven: bool, numbers: Sequence[Any]) -> Step:
    """The one step of volumes. Their placements are of one pass each, which resamples and transposes nothing."""
    assert chain.depth is not None
    (plane,), (deep,) = cast("list[BoxPass]", chain.placement.passes), cast("list[BoxPass]", chain.depth.passes)
    flips = np.bitwise_or(plane.orientation, np.where(np.bitwise_and(deep.orientation, VERTICAL), TURNED_OVER, 0))
    region = (deep.box[1], plane.box[1], plane.box[0], deep.height, plane.height, plane.width)
    return step(kernel, image.depth, *region, flips, _outside(chain)[0], woven, *numbers)


def _outside(chain: Chain) -> tuple[int, tuple[float, ...]]:
    """What stands outside of a volume: the mode, and levels."""
    assert chain.depth is not None
    for one in (*chain.placement.passes, *chain.depth.passes):
        if isinstance(one, BoxPass) and one.padding is not None:
            return one.padding.mode, one.padding.fill
    return NOTHING_OUTSIDE, (0.0,)


def assemble(steps: list[Step | Group], records: int, *, elements: int) -> Steps:
    """Steps in the form in which they are run."""
    flat = [member for one in steps for member in ((one,) if isinstance(one, Step) else one.steps)]
    order = np.empty((records, len(flat)), np.int64)
    order[:] = np.arange(len(flat))
    starts = list(accumulate((len(one.parameters) for one in flat), initial=0))
    values = np.empty((records, starts[-1]), np.float64)
    parameters = [parameter for one in flat for parameter in one.parameters]
    differ = [isinstance(parameter, np.ndarray) for parameter in parameters]
    values[:] = np.array([0.0 if each else parameter for parameter, each in zip(parameters, differ, strict=True)], np.float64)
    for column, each in enumerate(differ):
        if each:
            values[:, column] = parameters[column]
    for number, one in enumerate(flat):
        if one.where is not None:
            order[~one.where, number] = -1
    first = 0
    for one in steps:
        if isinstance(one, Step):
            first += 1
            continue
        last = first + len(one.steps)
        order[:, first:last] = np.take_along_axis(order[:, first:last], one.order, axis=1)
        first = last
    columns = np.array(starts[:-1], np.int64)
    return Steps(kernels=tuple(one.kernel for one in flat), columns=columns, values=values, order=order, elements=elements)


def step(kernel: str, *parameters: Any, where: Where = None) -> Step:
    """A step whose parameters are numbers, or arrays of one number a record."""
    return Step(kernel=kernel, parameters=parameters, where=where)


def _pixels(placement: Placement) -> int:
    """The most pixels that a record has after any pass."""
    return max(int(np.max(np.multiply(one.height, one.width), initial=1)) for one in placement.passes)


def levels_for(fill: tuple[float, ...], image: StoredImage) -> tuple[float, ...]:
    """The level of each channel of what stands outside. Raises ConfigError for another number of them, and for none of the dtype."""
    if len(fill) not in (1, image.channels):
        raise ConfigError(f"fill={fill} is not for an image of {image.channels} channels.", hint="Give one level, or one for each channel.")
    check_levels("fill", fill, image.dtype)
    return fill * (image.channels // len(fill))


def bits_of(values: NDArray[np.generic], dtype: np.dtype) -> list[float]:
    """The bits of values of a dtype, each in halves of 32, the lower first."""
    whole = np.ascontiguousarray(values.astype(dtype)).view(f"u{dtype.itemsize}").astype(np.uint64)
    return np.stack([whole & np.uint64(0xFFFFFFFF), whole >> np.uint64(32)], -1).astype(np.float64).reshape(-1).tolist()


def image_pass(one: Pass, image: StoredImage) -> Step:
    """One pass over levels of one byte."""
    if isinstance(one, AffinePass):
        fill = levels_for(one.fill, image)
        if one.interpolation == "nearest":
            return _nearest_pass(one, image, bits_of(np.array(fill), image.dtype))
        return step("affine", *one.inverse, one.height, one.width, *fill, where=one.where)
    x0, y0, x1, y1 = one.box
    if one.filter is None:
        mode = NOTHING_OUTSIDE if one.padding is None else one.padding.mode
        fill = levels_for((0.0,) if one.padding is None else one.padding.fill, image)
        return step("crop", y0, x0, one.height, one.width, one.orientation, mode, *fill)
    if one.filter.name.startswith("nearest"):
        return _nearest_pass(one, image, [0.0] * 2 * image.channels, centred=one.filter.name == "nearest-exact")
    box = (x0, y0, x1, y1, one.height, one.width, one.orientation, one.filter.antialias)
    return step("bilinear", *box) if one.filter.name == "bilinear" else step("filtered", *box, FILTERS[one.filter.name])


def _nearest_pass(one: Pass, image: StoredImage, fill: list[float], *, centred: bool = True) -> Step:
    """One pass over elements of any size that changes none; `fill` is bits."""
    if isinstance(one, AffinePass):
        return step("affine_nearest", *one.inverse, one.height, one.width, *fill, where=one.where)
    mode = NOTHING_OUTSIDE if one.padding is None else one.padding.mode
    return step("nearest", *one.box, one.height, one.width, one.orientation, mode, centred, *fill)


def float_pass(one: Pass, image: StoredImage) -> Step:
    """One pass in float32 over elements of any other dtype."""
    if isinstance(one, AffinePass):
        fill = levels_for(one.fill, image)
        return step("float_affine", *one.inverse, one.height, one.width, one.interpolation == "nearest", *fill, where=one.where)
    mode = NOTHING_OUTSIDE if one.padding is None else one.padding.mode
    fill = levels_for((0.0,) if one.padding is None else one.padding.fill, image)
    which = AS_THEY_ARE if one.filter is None else FLOAT_FILTERS[one.filter.name]
    antialias = one.filter is None or one.filter.antialias
    return step("float_box", *one.box, one.height, one.width, one.orientation, antialias, which, mode, *fill)


@lru_cache(maxsize=64)
def _numbers(n: int, most: float, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[float, ...]:
    """The scale of each channel, then the shift of each."""
    deviation = np.array(std or (1.0,))
    scale, shift = np.full(n, 1.0 / most) / deviation, np.broadcast_to(-np.array(mean or (0.0,)) / deviation, n)
    return (*scale.tolist(), *shift.tolist())


def _scale(chain: Chain, image: StoredImage, out: Output) -> tuple[float, ...]:
    """The scale of each channel, then the shift of each, of what comes out."""
    scaled = out.scale and out.dtype not in ("uint8", "uint16", "int16")
    return _numbers(chain.channels, image.most if scaled else 1.0, chain.mean, chain.std)


def _output(chain: Chain, image: StoredImage, out: Output) -> Step:
    return _last_step(out.dtype if image.dtype == np.uint8 else "float", out.woven, _scale(chain, image, out))


@lru_cache(maxsize=64)
def _last_step(kind: str, woven: bool, numbers: tuple[float, ...]) -> Step:
    """The same for every batch."""
    return step(f"{kind}_{'hwc' if woven else 'chw'}", *numbers)


def _erasing(one: Erased, channels: int, out: Output) -> Step:
    dtype = output_dtype(out.dtype)
    check_levels("RandomErasing: value", one.value, dtype)
    value = np.broadcast_to(np.array(one.value), channels)
    bits = bits_of(value, dtype)[::2]
    return step("erase", one.top, one.left, one.height, one.width, dtype.itemsize, out.woven, *bits, where=one.where)
