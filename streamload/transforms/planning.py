"""From an `Augment` and what is stored to what will be done: checked when a loader is made, before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.kernels.augment.runners import PixelFormat, Steps
from streamload.schema import ARRAY, Field, Schema
from streamload.transforms.augment import Augment
from streamload.transforms.chain import COLOR, Chain
from streamload.transforms.draws import Draws
from streamload.transforms.images import StoredImage, output_dtype, stored_image
from streamload.transforms.placement import Placement, Whole
from streamload.transforms.rendering import Output, image_steps, mask_steps

FIRST_STEP = 1 << 10
"""Numbers of operations that each `Augment` of a loader has for itself."""
MOST_FLOAT16 = 65519.99
"""What is larger becomes infinite in float16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentPlan:
    """One `Augment`, bound to the fields of a source."""

    augment: Augment
    number: int
    """Of several in a loader."""
    images: tuple[StoredImage, ...]
    masks: tuple[StoredImage, ...]
    out: Output
    size: tuple[int, int]
    """Height and width of what comes out."""
    depth: int
    """Planes of what comes out, of volumes; 0 of images."""
    channels: int
    """Of what comes out."""
    kernels: tuple[str, ...]
    """All that are needed."""
    planes_nbytes: int
    """Memory for the planes of a record between two steps, twice."""
    may_overflow: bool = False
    """Whether whole numbers that are stored could become infinite floats: records in which some do are errors."""

    @classmethod
    def of(cls, augment: Augment, schema: Schema, *, number: int = 0, encoded: Mapping[str, StoredImage] | None = None) -> AugmentPlan:
        """Check the chain against what is stored, `encoded` images among it.

        Raises ConfigError, naming the operation or the field, what it got and what to do.
        """
        known, images, masks = encoded or {}, list[StoredImage](), list[StoredImage]()
        for name in augment.fields:
            images.append(_decoded(augment, known[name]) if name in known else stored_image(_field(augment, schema, name), augment.stored))
        for name in augment.masks:
            layout = "DHW" if images[0].depth and len(_field(augment, schema, name).shape) == 3 else None
            masks.append(known.get(name) or stored_image(_field(augment, schema, name), layout, mask=True))
        _check_alike(images, masks)
        for name, width in (*((name, 4) for name in augment.boxes), *((name, 2) for name in augment.keypoints)):
            _check_coordinates(augment, _field(augment, schema, name), width)
        plan = cls(
            augment=augment,
            number=number,
            images=tuple(images),
            masks=tuple(masks),
            out=Output(dtype=_dtype_of(augment, images[0]), layout=augment.layout or images[0].layout, scale=augment.scale),
            size=(1, 1),
            depth=0,
            channels=1,
            kernels=(),
            planes_nbytes=0,
        )
        return plan._tried()

    def _tried(self) -> AugmentPlan:
        """The same, with what a chain of its operations shows: how large images come out, and which kernels it takes."""
        self._check_volume()
        chain = self.chain(np.zeros(8, np.uint32), np.zeros(1, np.int64))
        self._check_passes(chain)
        known = chain.placement.known
        if known is None:
            raise ConfigError(
                f"{self.augment} gives records of different sizes.", hint="End its geometry with a crop or a resize to (height, width)."
            )
        layout = self.out.layout
        if (chain.channels > 1 or chain.channels != self.images[0].channels) and layout == "HW":
            layout = "CHW" if self.augment.layout is None else layout
        if "C" not in layout and chain.channels > 1:
            hint = 'Give layout="CHW" or "HWC", of volumes "CDHW" or "DHWC".'
            raise ConfigError(f'layout="{layout}" has no room for {chain.channels} channels.', hint=hint)
        self._check_dtypes(chain)
        depth = chain.depth.known[0] if chain.depth is not None and chain.depth.known is not None else 0
        plan = replace(self, size=known, depth=depth, channels=chain.channels, out=replace(self.out, layout=layout))
        steps = {image: plan.steps_of(image, chain) for image in (*self.images, *self.masks)}
        kernels = {name for one in steps.values() for name in one.kernels}
        planes = max(2 * one.elements * max(image.plane_nbytes, image.dtype.itemsize) for image, one in steps.items())
        return replace(plan, kernels=tuple(sorted(kernels)), planes_nbytes=planes, may_overflow=self._may_overflow(chain))

    def _may_overflow(self, chain: Chain) -> bool:
        """Whether the levels of images reach further than the dtype of what comes out, which is float16."""
        first = self.images[0]
        if self.out.dtype != "float16" or first.dtype.kind == "f":
            return False
        limits = np.iinfo(first.dtype)
        ends = np.array([limits.min, limits.max]) / (first.most if self.out.scale else 1.0)
        made = (ends[:, None] - np.array(chain.mean or (0.0,))) / np.array(chain.std or (1.0,))
        return bool(np.abs(made).max() > MOST_FLOAT16)

    def _check_volume(self) -> None:
        """Raise ConfigError for what volumes are not made into, and for layouts that are of images alone, or of volumes."""
        augment, volume = self.augment, self.images[0].depth > 0
        if volume != ("D" in self.out.layout):
            what = "a volume" if volume else "an image"
            hint = 'Volumes come out as layout="DHW", "DHWC" or "CDHW", images as "HW", "HWC" or "CHW".'
            raise ConfigError(f"layout={self.out.layout!r} is not for {what}, which field '{self.images[0].name}' is.", hint=hint)
        for one in augment.operations if volume else ():
            if not getattr(type(one), "volumes", False):
                hint = "Volumes are cropped, padded, flipped and normalised: CenterCrop, RandomCrop, Pad, RandomFlip, Normalize."
                raise ConfigError(f"{type(one).__name__} is for images, and field '{self.images[0].name}' holds volumes.", hint=hint)
        if volume and (augment.boxes or augment.keypoints):
            raise ConfigError("boxes and key points do not move with volumes.", hint="Leave them out; masks move along.")

    @staticmethod
    def _check_passes(chain: Chain) -> None:
        """Raise ConfigError for geometry of volumes that is no one region of what is stored."""
        if chain.depth is not None and (len(chain.placement.passes) > 1 or len(chain.depth.passes) > 1):
            raise ConfigError("A volume is padded once, before it is cut.", hint="Put Pad first, or give padding= to the first crop alone.")

    def _check_dtypes(self, chain: Chain) -> None:
        """Raise ConfigError for colour that is not made for the stored dtype, and for dtypes that it does not become."""
        first = self.images[0]
        stored = first.dtype
        colors = list(_colors(self.augment.operations))
        if stored != np.uint8 and colors:
            raise ConfigError(
                f"{colors[0]} works on levels of one byte, and field '{first.name}' is {stored}.",
                hint="Leave colour out, or store uint8.",
            )
        whole = self.out.dtype in ("uint8", "uint16", "int16")
        if whole and (self.out.dtype != stored.name or chain.mean):
            what = "cannot hold what Normalize makes" if chain.mean else f"is not made of {stored}"
            raise ConfigError(f'dtype="{self.out.dtype}" {what}.', hint='Give dtype="float32" or "float16".')

    def chain(
        self,
        words: NDArray[np.uint32],
        records: NDArray[np.int64],
        *,
        sizes: tuple[Whole, Whole] | None = None,
        view: int = 0,
        crop: int = 0,
    ) -> Chain:
        """The chain at work for records, whose images have these heights and widths where they are not all of one size."""
        first = self.images[0]
        if sizes is None:
            sizes = first.size or first.usual
        draws = Draws(words, records, view=view, first_operation=self.number * FIRST_STEP)
        chain = Chain(draws=draws, placement=Placement(*sizes, records=len(records), known=first.size), channels=first.channels, crop=crop)
        if first.depth:
            chain.depth = Placement(first.depth, 1, records=len(records), known=(first.depth, 1))
        chain.run(self.augment.operations)
        chain.placement.finish()
        if chain.depth is not None:
            chain.depth.finish()
        return chain

    @property
    def entries(self) -> int:
        """Images that each record becomes: views times crops."""
        return self.augment.views * self.augment.crops

    @property
    def leading(self) -> tuple[int, ...]:
        """Axes before those of an image: views and crops, where there are several."""
        return tuple(count for count in (self.augment.views, self.augment.crops) if count > 1)

    def image_shape(self) -> tuple[int, ...]:
        """Of an image as it comes out."""
        sides = {"C": self.channels, "D": self.depth, "H": self.size[0], "W": self.size[1]}
        return tuple(sides[axis] for axis in self.out.layout)

    def delivered(self, schema: Schema) -> Schema:
        """The fields of a record once this has been done."""
        changed: dict[str, Field] = {}
        for image in self.images:
            changed[image.name] = Field(image.name, output_dtype(self.out.dtype), (*self.leading, *self.image_shape()))
        for mask in self.masks:
            sides = {"C": mask.channels, "D": self.depth, "H": self.size[0], "W": self.size[1]}
            shape = (*self.leading, *(sides[axis] for axis in mask.layout))
            changed[mask.name] = Field(mask.name, mask.dtype, shape)
        for name in (*self.augment.boxes, *self.augment.keypoints):
            field = schema[name]
            changed[name] = field if field.ragged else Field(name, field.dtype, (*self.leading, *field.shape))
        return Schema(tuple(changed.get(field.name, field) for field in schema))

    def format_of(self, image: StoredImage) -> PixelFormat:
        """What the kernels must know of an image or a mask."""
        mask = image in self.masks
        channels = image.channels if mask else self.channels
        itemsize = image.dtype.itemsize if mask else output_dtype(self.out.dtype).itemsize
        return PixelFormat(
            dtype=image.dtype,
            channels=image.channels,
            planar=image.planar,
            plane_nbytes=image.dtype.itemsize if mask else image.plane_nbytes,
            out_nbytes=channels * max(self.depth, 1) * self.size[0] * self.size[1] * itemsize,
            out_kind="uint8" if mask else self.out.dtype,
        )

    def steps_of(self, image: StoredImage, chain: Chain) -> Steps:
        """The steps of an image or a mask."""
        return mask_steps(chain, image, self.augment.mask_fill) if image in self.masks else image_steps(chain, image, self.out)


def _colors(operations: Iterable[Any]) -> Iterator[str]:
    """The operations of colour, those among them that others choose or apply, by their names."""
    for one in operations:
        within: Any = getattr(one, "transforms", None)
        if within is not None:
            yield from _colors(within)
        elif one.phases[0] <= COLOR <= one.phases[1]:
            yield type(one).__name__


def _field(augment: Augment, schema: Schema, name: str) -> Field:
    if name not in schema:
        raise ConfigError(f"{augment} names field '{name}', which is not there.", hint=f"There are: {', '.join(schema.names)}.")
    return schema[name]


def _decoded(augment: Augment, image: StoredImage) -> StoredImage:
    """An image that is decoded. Raises ConfigError where something else is said of the order of its axes."""
    if augment.stored not in (None, image.layout):
        raise ConfigError(
            f'stored="{augment.stored}" is said of field \'{image.name}\', which is stored as encoded images, decoded to "{image.layout}".',
            hint="Leave stored= out: decoding knows the order of axes.",
        )
    return image


def _dtype_of(augment: Augment, image: StoredImage) -> str:
    if augment.dtype is not None:
        return augment.dtype
    return "float32" if any(type(one).__name__ == "Normalize" for one in augment.operations) else image.dtype.name


def _check_alike(images: Sequence[StoredImage], masks: Sequence[StoredImage]) -> None:
    first = images[0]
    for other in (*images[1:], *masks):
        if (other.size, other.depth) != (first.size, first.depth):
            sizes = [(one.depth, *one.size) if one.depth and one.size else one.size for one in (other, first)]
            raise ConfigError(
                f"field '{other.name}' is {sizes[0]} and '{first.name}' is {sizes[1]}: they cannot move together.",
                hint="Fields of one Augment have one height and width.",
            )
    for other in images[1:]:
        if (other.dtype, other.layout, other.channels) != (first.dtype, first.layout, first.channels):
            raise ConfigError(
                f"field '{other.name}' is {other.dtype} {other.layout} of {other.channels} channels, "
                f"and '{first.name}' {first.dtype} {first.layout} of {first.channels}.",
                hint="Give each an Augment of its own.",
            )


def _check_coordinates(augment: Augment, field: Field, width: int) -> None:
    shape = field.shape if not field.ragged else (0, *field.shape) if field.ragged == ARRAY else ()
    if field.dtype.kind not in "iuf" or len(shape) != 2 or shape[1] != width:
        what = "boxes" if width == 4 else "key points"
        raise ConfigError(f"field '{field.name}' holds no {what}: {field}.", hint=f"They are numbers of shape (n, {width}).")
    for several, what in ((augment.views, "views"), (augment.crops, "crops")):
        if field.ragged and several > 1:
            raise ConfigError(f"field '{field.name}' is ragged, and there are {several} {what}.", hint=f"Several {what} take fixed shapes.")
