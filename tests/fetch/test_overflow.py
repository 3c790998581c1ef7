"""A batch that does not fit its slot: laid out alike on both sides, its descriptor found with the frame that speaks of it."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamload.errors import ResourceError
from streamload.fetch.ragged_collate import offsets_of
from streamload.fetch.tasks import Frames, Kind, Overflowed, pack_overflown
from streamload.memory.shared_memory import SharedBlock
from streamload.memory.slots import FREE, SlotLayout, Slots, SlotViews
from streamload.schema import Field, Schema
from streamload.workers.handle import WorkerHandle

SCHEMA = Schema(
    (
        Field("label", np.dtype("i8"), ()),
        Field("text", np.dtype("u1"), (), "text"),
        Field("points", np.dtype("f4"), (3,), "array"),
    )
)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5))
def test_a_batch_is_shown_as_it_was_written_in_its_slot_or_beside_it(lengths: list[tuple[int, int]]):
    """Values, offsets and fixed fields; a slot whose batch lay elsewhere is free at once."""
    count = len(lengths)
    capacities = (0, sum(text for text, _ in lengths), sum(points for _, points in lengths))
    slots = Slots(SlotLayout.of(SCHEMA, 5, (0, 100, 100)), count=2, spare=1)
    beside = SlotLayout.of(SCHEMA, 5, capacities)
    memory = np.zeros(beside.nbytes, np.uint8)
    expected = {}
    for layout, where in ((slots.layout, slots.ring), (beside, memory)):
        views = SlotViews(layout, where, 0 if where is memory else 1)
        views.records[:count] = np.arange(count) + 7
        views.fields["label"][:count] = np.arange(count)
        for column, name in ((0, "text"), (1, "points")):
            offsets = offsets_of(np.array([one[column] for one in lengths]), views.offsets[name][: count + 1])
            values = views.fields[name][: offsets[-1]]
            values[...] = np.arange(values.size).reshape(values.shape)
            expected[name] = values.copy(), offsets.copy()
    slots.reserve()
    assert slots.reserve() == 1
    SlotViews(slots.layout, slots.ring, 1).task[0] = 3
    assert slots.commit(1, 3)
    for fields, records in (
        (slots.overflown(1, count, capacities, memory)),
        slots.layout.arrays(slots.ring.bytes[slots.layout.nbytes :], count),
    ):
        assert records.tolist() == list(range(7, 7 + count))
        assert fields["label"].tolist() == list(range(count))
        for name, (values, offsets) in expected.items():
            assert np.array_equal(fields[name].values, values)
            assert np.array_equal(fields[name].offsets, offsets)
            assert fields[name].kind == SCHEMA[name].ragged
    assert slots.states[1] is FREE
    slots.close()


@pytest.fixture
def hand() -> Iterator[tuple[WorkerHandle, socket.socket]]:
    """A hand without a process, and the worker's end of its socket."""
    ours, theirs = socket.socketpair()
    made = WorkerHandle.__new__(WorkerHandle)
    made.number, made.overflows, made.channel, made._frames, made._descriptors = 1, True, ours, Frames(), deque()
    yield made, theirs
    ours.close()
    theirs.close()
    for fd in made._descriptors:
        os.close(fd)


def test_each_frame_finds_its_own_memory_however_the_stream_is_cut(hand: tuple[WorkerHandle, socket.socket]):
    """Descriptors come in the order of the frames that speak of them, and are closed once mapped."""
    made, theirs = hand
    before = len(os.listdir("/proc/self/fd"))
    sent: list[tuple[int, np.ndarray]] = []
    for number in range(3):
        block = SharedBlock.create(4096, purpose="a test")
        block.bytes[:] = number + 1
        frame = pack_overflown(Overflowed(number, 0, 5, (0, 9, 9), 4096, None))
        socket.send_fds(theirs, [frame[:7]], [block.fd])
        block.close()
        assert made.receive() == [], "the frame is not whole"
        theirs.sendall(frame[7:])
        ((kind, content),) = made.receive() or []
        assert kind is Kind.OVERFLOWN
        sent.append((content.number, content.memory))
    assert [(number, int(memory[0]), len(memory)) for number, memory in sent] == [(0, 1, 4096), (1, 2, 4096), (2, 3, 4096)]
    assert not made._descriptors
    del sent, content
    assert len(os.listdir("/proc/self/fd")) == before


def test_memory_that_cannot_be_had_is_an_error_with_a_cure(hand: tuple[WorkerHandle, socket.socket]):
    """A descriptor that did not arrive, since there were too many; a mapping that the system refuses."""
    made, theirs = hand
    theirs.sendall(pack_overflown(Overflowed(0, 0, 5, (0, 9, 9), 4096, None)))
    with pytest.raises(ResourceError, match=r"no descriptor for the memory of a batch that worker 1 filled\. Close other files or loaders"):
        made.receive()
    fd = os.memfd_create("test", os.MFD_CLOEXEC)
    os.ftruncate(fd, 2**62)
    socket.send_fds(theirs, [pack_overflown(Overflowed(1, 0, 5, (0, 9, 9), 2**62, None))], [fd])
    os.close(fd)
    with pytest.raises(ResourceError, match=r"no room to map the 4,611,686,018,427,387,904 bytes of a batch that worker 1 filled: "):
        made.receive()
