"""Messages between the loader's process and a worker, and their binary form on the socket.

A message is a frame: the number of bytes that follow its head, a kind, and then a few integers, or JSON for what is rare. A step
that is filled just as it was asked for is not answered: the head of its slot says so (`memory.slots`).
"""

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
_WHOLE_STEP = struct.Struct("<qqqqHHHHHqqI")
"""`_STEP` and one `_PIECE`: most steps are one piece, without advice or segments, and are packed in one call."""
_WHOLE_STEP_FRAME = struct.Struct("<IBqqqqHHHHHqqI")


class Kind(IntEnum):
    """What a frame holds. Kinds below 16 go to workers, the others come from them."""

    STEP = 1
    """A `StepTask`."""
    WINDOW = 2
    """A `WindowTask`."""
    FORGET = 3
    """Drop all tasks that are not done; answered by FORGOTTEN."""
    RECALL = 4
    """Drop a step that is not begun: it will be sent again. Answered by FORGOTTEN."""
    FINISHED = 16
    """A step is filled that the loader sleeps for. No content: the head of its slot says which."""
    FAILED = 17
    """A `Failed` step."""
    FORGOTTEN = 18
    """The answer to FORGET: no task is under way any more."""
    PROBED = 19
    """What a function of the user's returns, asked for before the first step."""
    BROKEN = 20
    """The worker cannot go on: a block cannot be decoded, or it could not start."""
    OVERFLOWN = 21
    """An `Overflowed` step; the descriptor of its memory is sent along."""
    FLAWED = 22
    """A `Filled` step, some records of which could not be delivered."""


_made = tuple.__new__
"""Makes a named tuple as its class would, in half the time: for what is made for every step."""
_KINDS = {int(kind): kind for kind in Kind}
# Looking up a member of an enumeration takes longer than a variable of the module; these are needed for every frame.
_A_STEP, _FINISHED = Kind.STEP, Kind.FINISHED
_STEP_NUMBER = int(Kind.STEP)


class SegmentRows(NamedTuple):
    """The rows of a batch that one stream fills, where some of them do not count."""

    stream: int
    valid: int
    """Rows that count, which come first."""
    rows: int
    """All rows: those that do not count repeat the last record that is read."""


class StepTask(NamedTuple):
    """Fill one slot with one step: the records of its pieces, one piece after the other."""

    number: int
    """Unique in the life of the loader; rises in the order in which steps are handed out."""
    slot: int
    epoch: int
    """The epoch of the run."""
    step: int
    """The number of the step in that epoch."""
    pieces: tuple[StepPiece, ...]
    """What is read for the step, in the order of its rows. Never empty."""
    advice: tuple[StepPiece, ...] = ()
    """Positions to advise the operating system of before filling."""
    segments: tuple[SegmentRows, ...] = ()
    """The rows of each stream, in order, if some rows do not count, or may come not to; empty if every row is read and counts."""

    @property
    def rows(self) -> int:
        """Rows of the batch, those that do not count among them."""
        if self.segments:
            return sum(segment.rows for segment in self.segments)
        pieces = self.pieces
        return pieces[0][4] - pieces[0][3] if len(pieces) == 1 else sum(piece.stop - piece.start for piece in pieces)


class WindowTask(NamedTuple):
    """Decode this worker's share of one window into one part of the arena."""

    serial: int
    """Unique in the life of the loader; `memory.progress` says of which serial a worker has decoded how many blocks."""
    stream: int
    lane: int
    epoch: int
    window: int
    part: int
    """The part of the arena to decode it into, numbered through all streams."""
    blocks: int = 0
    """How many blocks the window has."""
    shares: tuple[int, ...] = ()
    """How many of them each worker decodes; none: they go round."""

    @property
    def key(self) -> WindowKey:
        """(stream, lane, epoch, window)."""
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
    """How many rows it has."""
    bad: tuple[tuple[int, int, str], ...] = ()
    """Records that could not be delivered: (record, record that replaces it or -1, reason)."""
    valid: tuple[int, ...] = ()
    """By segment of the task, the rows that count, if records were left out; otherwise empty."""


class Overflowed(NamedTuple):
    """A step is in memory of its own, because its ragged records are longer than its slot has room for."""

    number: int
    slot: int
    records: int
    capacities: tuple[int, ...]
    """By field, the elements that the memory has room for: it is laid out as a slot with these capacities."""
    nbytes: int
    """Bytes of the memory."""
    memory: Any
    """The memory as a uint8 array of shape (nbytes,); None until its descriptor has been received and mapped."""
    bad: tuple[tuple[int, int, str], ...] = ()
    """As in `Filled`."""
    valid: tuple[int, ...] = ()
    """As in `Filled`."""


class Failed(NamedTuple):
    """A step could not be filled."""

    number: int
    slot: int
    error: dict[str, Any]
    """The error, as `errors.to_plain` makes it."""


Reply = Filled | Overflowed | Failed
"""What a worker answers to a step."""


@cache
def _step_frame(pieces: int, segments: int) -> struct.Struct:
    """The binary form of a step's frame with so many pieces (those of its advice included) and segments."""
    return struct.Struct("<IBqqqqHHH" + "HHqqI" * pieces + "HII" * segments)


def pack_step(task: StepTask) -> bytes:
    """The frame of a step task."""
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


def _step(held: bytes | memoryview, at: int, end: int) -> StepTask:
    """The step task whose content lies in bytes [at, end) of `held`."""
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
    """The frame of a window task."""
    shares = struct.pack(f"<{len(task.shares)}I", *task.shares)
    return _FRAME.pack(_WINDOW.size + len(shares), Kind.WINDOW) + _WINDOW.pack(*task[:-1]) + shares


def pack_flawed(reply: Filled) -> bytes:
    """The frame of a filled step, some records of which could not be delivered."""
    return pack_text(Kind.FLAWED, reply._asdict())


def pack_overflown(reply: Overflowed) -> bytes:
    """The frame of a step that did not fit its slot. The descriptor of its memory must be sent along."""
    return pack_text(Kind.OVERFLOWN, reply._replace(memory=None)._asdict())


FINISHED_FRAME = _FRAME.pack(0, Kind.FINISHED)
"""A frame that says so: it has no content."""


def step_of(message: bytes | memoryview) -> StepTask:
    """The task of a message that is one frame of a step."""
    return _step(message, _FRAME.size, len(message))


def pack_text(kind: Kind, content: Mapping[str, Any]) -> bytes:
    """A frame that carries JSON."""
    payload = json.dumps(content).encode()
    return _FRAME.pack(len(payload), kind) + payload


class Frames:
    """Cuts the bytes that arrive from a socket into frames, and keeps the beginning of one that is not complete."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, received: bytes) -> list[tuple[Kind, Any]]:
        """The frames that are complete now, each as (kind, content): a task, a reply, or what JSON says."""
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
    if kind is _A_STEP:
        return _step(held, begin, begin + length)
    if kind is _FINISHED:
        return None
    if kind is Kind.WINDOW:
        shares = struct.unpack_from(f"<{(length - _WINDOW.size) // 4}I", held, begin + _WINDOW.size)
        return WindowTask._make((*_WINDOW.unpack_from(held, begin), shares))
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
