"""Images as Spark ML stores them, rows of blue, green and red: put behind a header of ours, they are one more encoded format."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import UnsupportedFeatureError
from streamload.images.header import ImageHeader
from streamload.images.image_error import ImageError

MEMBERS = ("height", "width", "nChannels", "mode", "data")
"""Of Spark's struct, besides `origin`: what is needed of it."""
MAGIC = b"\x93SparkML"
HEADER = struct.Struct("<8s4i")
"""The magic; height, width, number of channels, and OpenCV's number for their type."""
MODES = {0: 1, 16: 3, 24: 4}
"""OpenCV's numbers for 8 bits of grey, of blue, green and red, and of these with alpha: channels."""


def packed(
    numbers: list[NDArray[np.int32]], data: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Records as encoded ones: bytes, and where each begins. `numbers` are height, width, channels and mode of each."""
    count = len(offsets) - 1
    begins = offsets + HEADER.size * np.arange(count + 1)
    out = np.empty(int(begins[-1]), np.uint8)
    heads = np.zeros((count, HEADER.size), np.uint8)
    heads[:, : len(MAGIC)] = np.frombuffer(MAGIC, np.uint8)
    heads[:, len(MAGIC) :] = np.stack(numbers, axis=1).astype("<i4").view(np.uint8).reshape(count, -1)
    for head, begin, start, stop in zip(heads, begins.tolist(), offsets[:-1].tolist(), offsets[1:].tolist(), strict=False):
        out[begin : begin + HEADER.size] = head
        out[begin + HEADER.size : begin + HEADER.size + stop - start] = data[start:stop]
    return out, begins


def read(data: memoryview) -> ImageHeader:
    """What the struct says."""
    _, height, width, channels, mode = HEADER.unpack_from(data, 0)
    if MODES.get(mode) != channels:
        raise ImageError(
            f"is a Spark image of OpenCV's type {mode} with {channels} channels, which is not decoded here",
            hint="Convert it to CV_8UC1 (0), CV_8UC3 (16) or CV_8UC4 (24).",
            kind=UnsupportedFeatureError,
        )
    colours = "grey" if channels == 1 else "colour"
    return ImageHeader(format="Spark image", height=height, width=width, colours=colours, alpha=channels == 4, bits=8, orientation=1)


def pixels(data: memoryview, head: ImageHeader) -> NDArray[Any]:
    """The pixels, red first."""
    channels = HEADER.unpack_from(data, 0)[3]
    values = np.frombuffer(data, np.uint8, offset=HEADER.size)
    if len(values) != head.height * head.width * channels:
        raise ValueError(f"it holds {len(values):,} bytes, where {head.height * head.width * channels:,} are expected")
    image = values.reshape(head.height, head.width, channels)
    return image if channels == 1 else image[:, :, [2, 1, 0, 3][:channels]]
