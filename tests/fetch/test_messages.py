"""Frames survive whatever a socket does to a stream of bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamload.errors import MOST_TEXT_NBYTES, shortened
from streamload.fetch.tasks import (
    FINISHED_FRAME,
    Failed,
    Filled,
    Frames,
    Kind,
    SegmentRows,
    StepTask,
    WindowTask,
    pack_flawed,
    pack_step,
    pack_text,
    pack_window,
)
from streamload.order import StepPiece

words = st.integers(-(2**63), 2**63 - 1)
plain = st.dictionaries(st.text(max_size=8), st.one_of(st.integers(), st.text(max_size=20), st.none(), st.booleans()), max_size=4)


def packed(content: object) -> tuple[bytes, tuple[Kind, object]]:
    """A frame, and what must come out of it."""
    if isinstance(content, StepTask):
        return pack_step(content), (Kind.STEP, content)
    if isinstance(content, WindowTask):
        return pack_window(content), (Kind.WINDOW, content)
    if isinstance(content, Filled):
        return pack_flawed(content), (Kind.FLAWED, content)
    if isinstance(content, Failed):
        return pack_text(Kind.FAILED, content._asdict()), (Kind.FAILED, content)
    return pack_text(Kind.BROKEN, content), (Kind.BROKEN, json.loads(json.dumps(content)))


numbers = st.integers(0, 2**16 - 1)
pieces = st.tuples(numbers, numbers, st.integers(0, 2**62), st.integers(0, 2**62), st.integers(0, 2**32 - 1)).map(
    lambda one: StepPiece(*one[:4], one[3] + one[4])
)
some_pieces = st.lists(pieces, max_size=5).map(tuple)
counts = st.integers(0, 2**32 - 1)
segments = st.lists(st.tuples(numbers, counts, counts).map(SegmentRows._make), max_size=3).map(tuple)
valid = st.lists(counts, max_size=3).map(tuple)
contents = st.one_of(
    st.tuples(*[words] * 4, some_pieces, some_pieces, segments).map(StepTask._make),
    st.tuples(words, numbers, numbers, *[words] * 3, counts, st.lists(counts, max_size=3).map(tuple)).map(WindowTask._make),
    st.tuples(*[words] * 3).map(lambda one: Filled(*one)),
    st.tuples(*[words] * 3, st.lists(st.tuples(words, words, st.text(max_size=9)), max_size=3).map(tuple), valid).map(Filled._make),
    st.tuples(words, words, plain).map(Failed._make),
    plain,
)


@given(st.lists(contents, max_size=12), st.data())
def test_frames_that_are_cut_anywhere_come_out_whole_and_in_order(sent: list[object], data: st.DataObject) -> None:
    """However a stream is cut into pieces, the same frames come out, each as soon as its last byte is there."""
    frames = [packed(content) for content in sent]
    stream = b"".join(frame for frame, _ in frames)
    borders = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    ends = [sum(len(frame) for frame, _ in frames[: k + 1]) for k in range(len(frames))]
    reader, received = Frames(), []
    for start, stop in zip([0, *borders], [*borders, len(stream)], strict=True):
        received += reader.feed(stream[start:stop])
        assert len(received) == sum(end <= stop for end in ends)
    assert received == [content for _, content in frames]


def test_a_stream_byte_by_byte_gives_the_same_frames() -> None:
    task = StepTask(
        1,
        2,
        3,
        4,
        (StepPiece(0, 1, 3, 5, 6), StepPiece(1, 0, 7, 0, 9)),
        (StepPiece(0, 0, 4, 0, 8),),
        (SegmentRows(0, 1, 3), SegmentRows(1, 9, 9)),
    )
    stream = pack_step(task) + pack_text(Kind.FORGET, {"token": 3}) + FINISHED_FRAME
    reader = Frames()
    assert [frame for byte in stream for frame in reader.feed(bytes([byte]))] == [
        (Kind.STEP, task),
        (Kind.FORGET, {"token": 3}),
        (Kind.FINISHED, None),
    ]


@pytest.mark.parametrize(("pieces", "most"), [(1, 256), (16, 1024)], ids=["one order", "sixteen lanes"])
def test_a_step_its_reply_and_a_window_are_below_a_kilobyte(pieces: int, most: int) -> None:
    """At most 1 KB of socket traffic a step, with as many pieces of advice as it has pieces."""
    largest = (StepPiece(2**16 - 1, 2**16 - 1, 2**62, 2**62, 2**62 + 2**32 - 1),) * pieces
    frames = [
        pack_step(StepTask(*[2**62] * 4, largest, largest)),
        FINISHED_FRAME,
        pack_window(WindowTask(2**62, 2**16 - 1, 2**16 - 1, *[2**62] * 3, 2**32 - 1, (2**32 - 1,) * 8)),
    ]
    assert sum(map(len, frames)) < most


@given(st.text(max_size=50))
def test_short_text_is_sent_whole(text: str) -> None:
    assert shortened(text) == text


@pytest.mark.parametrize("character", ["a", "\N{PILE OF POO}"], ids=["one byte", "four bytes"])
def test_long_text_keeps_its_ends_and_says_what_is_missing(character: str) -> None:
    text = "begin" + character * (2 * MOST_TEXT_NBYTES) + "end"
    left = shortened(text)
    assert left.startswith("begin")
    assert left.endswith("end")
    assert "characters left out" in left
    assert len(left.encode()) < MOST_TEXT_NBYTES + 100
