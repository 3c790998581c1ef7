"""What goes over a worker's socket: a few integers a step, framed; text only when something went wrong."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

from streamload.order import StepPiece

_FRAME = struct.Struct("<IB")
_STEP = struct.Struct("<qqqqHHH")
_PIECE = struct.Struct("<HHqqI")
_SEGMENT = struct.Struct("<HII")
_WINDOW = struct.Struct("<qHHqqqI")
_FILLED = struct.Struct("<qqq")
_FILLED_FRAME = struct.Struct("<IBqqq")
_WHOLE_STEP = struct.Struct("<qqqqHHHHHqqI")
"""`_STEP` and one `_PIECE`: most steps are one piece, and have nothing beside it."""
_WHOLE_STEP_FRAME = struct.Struct("<IBqqqqHHHHHqqI")


class Kind(IntEnum):
    """What a frame says."""

    STEP = 1
    WINDOW = 2
    FORGET = 3
    FILLED = 16
    FAILED = 17
    FORGOTTEN = 18
    PROBED = 19
    BROKEN = 20
    """A worker that cannot go on: a block does not decode, or it could not begin."""
    OVERFLOWN = 21
    """A step that did not fit its slot; the descriptor of the memory that it lies in comes along."""
    FLAWED = 22
    """A step that is in its slot, some of whose records could not be delivered."""


_made = tuple.__new__
"""Makes a named tuple as its class would, in half the time: for what is made for every step."""
_KINDS = {int(kind): kind for kind in Kind}
# Members of an enumeration are looked up through a descriptor; these are looked at with every frame.
_A_STEP, _A_FILLED = Kind.STEP, Kind.FILLED
_STEP_NUMBER, _FILLED_NUMBER = int(Kind.STEP), int(Kind.FILLED)


class SegmentRows(NamedTuple):
    """The rows of a batch that one stream fills, where some of them do not count."""

    stream: int
    valid: int
    """Rows that count: those that are read for it first."""
    rows: int
    """All of them: what is missing repeats the last record that is read."""


class StepTask(NamedTuple):
    """Fill one slot with one step: the records of its pieces, one piece after the other."""

    number: int
    """Counts on through the life of the loader; it rises in the order in which steps are handed out."""
    slot: int
    epoch: int
    """The epoch and the number of the step in it, as the user counts them."""
    step: int
    pieces: tuple[StepPiece, ...]
    """What the step consists of: piece k holds the rows behind those of piece k - 1. Never empty."""
    advice: tuple[StepPiece, ...] = ()
    """Positions to tell the kernel about before filling."""
    segments: tuple[SegmentRows, ...] = ()
    """The rows of each stream, in order, where rows are filled up; none where every row is read and counts."""


class WindowTask(NamedTuple):
    """Decode this worker's share of one window into one part of the arena."""

    serial: int
    """Counts on through the life of the loader; a progress word says which serial it speaks of."""
    stream: int
    lane: int
    epoch: int
    window: int
    part: int
    """Of the arena, counted over all streams."""
    blocks: int = 0
    """How many blocks the window has."""
    shares: tuple[int, ...] = ()
    """How many of them each worker decodes; none: they go round."""

    @property
    def key(self) -> WindowKey:
        """What tells this window from every other."""
        return self[1:5]


LaneKey = tuple[int, int]
"""(stream, lane)."""
WindowKey = tuple[int, int, int, int]
"""(stream, lane, epoch, window)."""


class Filled(NamedTuple):
    """A step is in its slot."""

    number: int
    slot: int
    records: int
    """How many are in it."""
    bad: tuple[tuple[int, int, str], ...] = ()
    """Records that could not be delivered: which, by which they were replaced (-1: by none), and why."""
    valid: tuple[int, ...] = ()
    """Rows of each of the task's segments that count, where some were left out; else none."""


class Overflowed(NamedTuple):
    """A step is in memory of its own, since ragged records were longer than its slot has room for."""

    number: int
    slot: int
    records: int
    capacities: tuple[int, ...]
    """Elements that the memory has room for, by field: it is laid out as a slot with these."""
    nbytes: int
    """Bytes of the memory."""
    memory: Any
    """The bytes, as an array; None until its descriptor has been found."""
    bad: tuple[tuple[int, int, str], ...] = ()
    """As in `Filled`."""
    valid: tuple[int, ...] = ()
    """As in `Filled`."""


class Failed(NamedTuple):
    """A step could not be filled."""

    number: int
    slot: int
    error: dict[str, Any]
    """As `errors.to_plain` gives it."""


Reply = Filled | Overflowed | Failed
"""What a worker answers to a step."""


@cache
def _step_frame(pieces: int, segments: int) -> struct.Struct:
    """The layout of a step's frame with so many pieces, those of its advice among them."""
    return struct.Struct("<IBqqqqHHH" + "HHqqI" * pieces + "HII" * segments)


def pack_step(task: StepTask) -> bytes:
    """A frame for a step task."""
    number, slot, epoch, step, pieces, advice, segments = task
    if len(pieces) == 1 and not advice and not segments:
        stream, lane, of_epoch, start, stop = pieces[0]
        return _WHOLE_STEP_FRAME.pack(
            _WHOLE_STEP.size, _STEP_NUMBER, number, slot, epoch, step, 1, 0, 0, stream, lane, of_epoch, start, stop - start
        )
    packed: list[int] = []
    for stream, lane, of_epoch, start, stop in (*pieces, *advice):
        packed += (stream, lane, of_epoch, start, stop - start)
    for segment in segments:
        packed += segment
    frame = _step_frame(len(pieces) + len(advice), len(segments))
    head = number, slot, epoch, step, len(pieces), len(advice), len(segments)
    return frame.pack(frame.size - _FRAME.size, Kind.STEP, *head, *packed)


def _step(held: bytes, at: int, end: int) -> StepTask:
    """The task of a frame for a step that lies there."""
    if end - at == _WHOLE_STEP.size:
        number, slot, epoch, step, count, _, _, stream, lane, of_epoch, start, length = _WHOLE_STEP.unpack_from(held, at)
        if count:
            piece = _made(StepPiece, (stream, lane, of_epoch, start, start + length))
            return _made(StepTask, (number, slot, epoch, step, (piece,), (), ()))
    number, slot, epoch, step, count, advised, _ = _STEP.unpack_from(held, at)
    at += _STEP.size
    pieces: list[StepPiece] = []
    for _ in range(count + advised):
        stream, lane, of_epoch, start, length = _PIECE.unpack_from(held, at)
        pieces.append(StepPiece(stream, lane, of_epoch, start, start + length))
        at += _PIECE.size
    segments = () if at == end else tuple(SegmentRows._make(one) for one in _SEGMENT.iter_unpack(held[at:end]))
    return StepTask(number, slot, epoch, step, tuple(pieces[:count]), tuple(pieces[count:]), segments)


def pack_window(task: WindowTask) -> bytes:
    """A frame for a window task."""
    shares = struct.pack(f"<{len(task.shares)}I", *task.shares)
    return _FRAME.pack(_WINDOW.size + len(shares), Kind.WINDOW) + _WINDOW.pack(*task[:-1]) + shares


def pack_filled(reply: Filled) -> bytes:
    """A frame for a filled step."""
    if reply.bad or reply.valid:
        return pack_text(Kind.FLAWED, reply._asdict())
    return pack_whole(*reply[:3])


def pack_whole(number: int, slot: int, records: int) -> bytes:
    """A frame for a filled step of which every record could be delivered."""
    return _FILLED_FRAME.pack(_FILLED.size, _FILLED_NUMBER, number, slot, records)


def pack_overflown(reply: Overflowed) -> bytes:
    """A frame for a step that did not fit its slot; its memory must be sent along."""
    return pack_text(Kind.OVERFLOWN, reply._replace(memory=None)._asdict())


def pack_text(kind: Kind, content: Mapping[str, Any]) -> bytes:
    """A frame that carries JSON."""
    payload = json.dumps(content).encode()
    return _FRAME.pack(len(payload), kind) + payload


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, received: bytes) -> list[tuple[Kind, Any]]:
        """The frames that are complete now, each as its kind and its content."""
        held = self._held + received if self._held else received
        complete: list[tuple[Kind, Any]] = []
        at, end = 0, len(held)
        while end - at >= _FRAME.size:
            length, number = _FRAME.unpack_from(held, at)
            begin = at + _FRAME.size
            if end - begin < length:
                break
            kind = _KINDS[number]
            complete.append((kind, _content(kind, held, begin, length)))
            at = begin + length
        self._held = held[at:]
        return complete


def _content(kind: Kind, held: bytes, begin: int, length: int) -> Any:
    if kind is _A_FILLED:
        return _made(Filled, (*_FILLED.unpack_from(held, begin), (), ()))
    if kind is _A_STEP:
        return _step(held, begin, begin + length)
    if kind is Kind.WINDOW:
        shares = struct.unpack_from(f"<{(length - _WINDOW.size) // 4}I", held, begin + _WINDOW.size)
        return WindowTask(*_WINDOW.unpack_from(held, begin), shares)
    content = json.loads(held[begin : begin + length])
    if kind is Kind.OVERFLOWN:
        capacities = tuple(int(one) for one in content["capacities"])
        head = content["number"], content["slot"], content["records"]
        return Overflowed(*head, capacities, content["nbytes"], None, _bad(content), tuple(content["valid"]))
    if kind is Kind.FLAWED:
        return Filled(content["number"], content["slot"], content["records"], _bad(content), tuple(content["valid"]))
    return Failed(content["number"], content["slot"], content["error"]) if kind is Kind.FAILED else content


def _bad(content: dict[str, Any]) -> tuple[tuple[int, int, str], ...]:
    return tuple((int(record), int(by), str(why)) for record, by, why in content["bad"])
