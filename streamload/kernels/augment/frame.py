"""What kernels of augmentation share about the record at hand: an array of 64-bit words, and what stands in each of them.

A kernel is called with the address of the frame and that of its own parameters, float64. Geometry goes from SOURCE to the
planes, one of uint8 a channel; colour works on the planes in place; an output kernel goes from the planes to OUT.
"""

from __future__ import annotations

SOURCE = 0
"""Address of what geometry reads: the stored record, later the planes of the pass before."""
SOURCE_HEIGHT, SOURCE_WIDTH = 1, 2
CHANNELS = 3
PLANAR = 4
"""1 where the source has its channels one after the other (CHW), 0 where they are woven (HWC)."""
PLANES, SPARE = 5, 6
"""Addresses of the planes that hold the record, and of as many that may be overwritten."""
HEIGHT, WIDTH = 7, 8
"""Of the planes."""
OUT = 9
"""Address of the record's row of the slot."""
PENDING = 10
"""1 where the planes stand for what TABLE makes of them."""
TABLE = 11
"""Address of 256 levels a channel, uint8."""
STREAM = 12
"""1 where the output goes past the caches."""
ITEM_NBYTES = 13
"""Bytes of an element of the source, where they are not levels of one byte."""
SOURCE_KIND, OUT_KIND = 14, 15
"""Which of `KINDS` the source and the output are, for kernels that take any."""
RECORD = 16
"""Number of the record, for noise."""
WORDS = 17
"""Address of the eight words of the key, uint32, for noise."""
UNFINISHED = 18
"""1 while a kernel works that takes memory of its own: it stays so where there is none, and the kernel has ended early."""
FRAME_WORDS = 32
RECORD_WORDS = 5
"""Of a row of the table of records: address, height and width, the address of where it goes, and its number."""

KINDS = ("uint8", "uint16", "int16", "float16", "bfloat16", "float32")

HORIZONTAL, VERTICAL, TRANSPOSED = 1, 2, 4
"""Orientation, as bits: what comes out is the region, transposed first, then flipped upside down, then left to right."""
TURNED_OVER = 4
"""Of volumes, which are never transposed: the first plane comes last."""

CONSTANT, REFLECT, EDGE, SYMMETRIC = 0, 1, 2, 3
"""What stands outside of the source."""
