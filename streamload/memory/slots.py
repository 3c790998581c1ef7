"""The ring: one batch's piece of shared memory each, from `reserve` until the user's last array of it is gone.

Rules, which everything here keeps:

1. A slot is free, asked for (a worker may be writing), filled, or leased (the user may be reading). Nothing else.
2. free -> asked for (`reserve`) -> filled (`commit`) -> leased (`lease`) -> free; or asked for -> free (`abort`), and filled -> free,
   when a batch is not wanted (`discard`) or copied.
3. A slot that is asked for stays so until its worker has answered, whatever became of the epoch: a late worker must never
   write into memory that somebody else was given.
4. A lease ends when the last array that looks at the slot has died, wherever and in whatever thread that happens. The
   weak reference's callback only notes the reference; the slot is free when the loader looks at its notes.
5. `spare` slots may be leased at a time; the others must keep going round. A batch beyond that is copied to private memory.
6. A batch whose ragged fields exceed the slot lies in memory of its own; its slot stays filled until the batch is handed out,
   so that there are never more of them under way than there are slots.
7. A slot says, in its first word, which task filled it, and its last word never changes. A worker that answers the wrong
   task, or writes past its slot, is found out before its bytes are shown.
8. A forked child has private copies of the slots that were leased, at the same addresses (`memory.forks` says what they cost).
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.memory.forks import LENDING, Piece
from streamload.memory.shared_memory import SharedBlock, aligned
from streamload.ragged import Ragged
from streamload.schema import PADDED, Field, Schema

HEAD_NBYTES = 64
CANARY = 0x5F51_0745_7EA3_10AD


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """Where in a slot each field of a batch begins."""

    schema: Schema
    batch_size: int
    offsets: tuple[int, ...]
    """Bytes from the slot's begin to each field, in the order of the schema; of a ragged one, to its offsets."""
    values: tuple[int, ...]
    """The same to the values of ragged fields; of others, to the field."""
    capacities: tuple[int, ...]
    """Elements that there is room for, of ragged fields; 0 of others."""
    records_offset: int
    """Bytes from the slot's begin to the record numbers."""
    nbytes: int
    """Bytes of a whole slot."""

    @classmethod
    def of(cls, schema: Schema, batch_size: int, capacities: Sequence[int] = ()) -> SlotLayout:
        """The layout for batches of up to `batch_size` records, and so many elements of each ragged field."""
        at = HEAD_NBYTES + aligned(8 * batch_size)
        offsets: list[int] = []
        values: list[int] = []
        capacities = tuple(capacities) or (0,) * len(schema)
        for field, capacity in zip(schema, capacities, strict=True):
            offsets.append(at)
            if field.ragged:
                at += aligned(8 * (batch_size + 1))
            values.append(at)
            at += aligned(field.nbytes * (capacity if field.ragged else batch_size))
        return cls(schema, batch_size, tuple(offsets), tuple(values), capacities, HEAD_NBYTES, aligned(at + 8, 4096))

    def arrays(self, whole: NDArray[np.uint8], count: int) -> tuple[dict[str, Any], NDArray[np.int64]]:
        """A batch of `count` records that lies in `whole`: its fields, and the record numbers."""
        fields: dict[str, Any] = {}
        for field, at, values_at, capacity in zip(self.schema, self.offsets, self.values, self.capacities, strict=True):
            if not field.ragged:
                fields[field.name] = np.ndarray((count, *field.shape), field.dtype, whole, at)
                continue
            offsets = np.ndarray((count + 1,), np.int64, whole, at)
            elements = min(max(int(offsets[count]), 0), capacity)
            if field.as_ragged:
                fields[field.name] = Ragged(np.ndarray((elements, *field.shape), field.dtype, whole, values_at), offsets, field.ragged)
                continue
            axes = (count, elements // max(count, 1)) if field.ragged == PADDED else (elements,)
            fields[field.name] = np.ndarray((*axes, *field.shape), field.dtype, whole, values_at)
        return fields, np.ndarray((count,), np.int64, whole, self.records_offset)


class SlotViews:
    """One slot as arrays of a whole batch: what a worker writes into."""

    def __init__(self, layout: SlotLayout, ring: SharedBlock | NDArray[np.uint8], slot: int) -> None:
        memory = ring.bytes if isinstance(ring, SharedBlock) else ring
        whole = memory[slot * layout.nbytes : (slot + 1) * layout.nbytes]
        self.task = whole[:8].view(np.int64)
        self.canary = whole[-8:].view(np.int64)
        size = layout.batch_size
        self.records: NDArray[np.int64] = whole[layout.records_offset :][: 8 * size].view(np.int64)
        self.fields: dict[str, NDArray[Any]] = {}
        """By name, an array of a whole batch, or of as many elements as there is room for."""
        self.offsets: dict[str, NDArray[np.int64]] = {}
        """Of ragged fields: where each record begins in the field, and their end."""
        for field, at, values_at, capacity in zip(layout.schema, layout.offsets, layout.values, layout.capacities, strict=True):
            if field.ragged:
                self.offsets[field.name] = np.ndarray((size + 1,), np.int64, whole, at)
            self.fields[field.name] = _typed(whole, values_at, field, capacity if field.ragged else size)


def _typed(whole: NDArray[np.uint8], offset: int, field: Field, count: int) -> NDArray[Any]:
    return np.ndarray((count, *field.shape), field.dtype, whole, offset)


def _leased(leases: Sequence[LeaseRef | None], nbytes: int) -> Callable[[], list[Piece]]:
    """The pieces of a ring whose slots are leased now."""
    return lambda: [(slot * nbytes, nbytes) for slot, lease in enumerate(leases) if lease is not None and lease() is not None]


UINT8, INT64 = np.dtype(np.uint8), np.dtype(np.int64)
_array = np.ndarray
NOT_FILLED = -1
"""What the head of a slot says until its task is done."""
NO_HEADS: NDArray[np.int64] = np.empty(0, np.int64)


def heads_of(layout: SlotLayout, ring: SharedBlock) -> NDArray[np.int64]:
    """The heads of a ring's slots, shape (slots,)."""
    return np.ndarray((ring.nbytes // layout.nbytes,), np.int64, ring.bytes, 0, (layout.nbytes,))


def flawed(task: int) -> int:
    """What the head of a slot says of a task that was done otherwise than asked: the worker's reply has the rest."""
    return -2 - task


class SlotState(Enum):
    """Who may touch a slot."""

    FREE = "free"
    ASKED = "asked for"
    FILLED = "filled"
    LEASED = "leased"


# Members of an enumeration are looked up through a descriptor; these are looked at several times a step.
FREE, ASKED, FILLED, LEASED = SlotState


class LeaseRef(weakref.ref["NDArray[np.uint8]"]):
    """A weak reference to a lease, which knows its slot. When the lease dies, `deque.append` notes this, and no line of Python runs:
    an interrupt that came in one would be lost, and the slot with it.

    A lease is a batch's hold on its slot: an array of the whole slot, which every array of the batch leads back to.
    """

    __slots__ = ("slot",)
    slot: int


class Slots:
    """The loader's side of the ring."""

    def __init__(self, layout: SlotLayout, *, count: int, spare: int, at_once: bool = True) -> None:
        """Without `at_once` memory beyond the first slot is taken beside the program: whoever touches a slot waits for it."""
        if not 0 < spare < count:
            raise ValueError(f"{spare} of {count} slots cannot be spare")
        self.layout = layout
        self.spare = spare
        self.held_back = 0
        """Free slots that are not to be asked for: fewer that are used again soon stay in caches."""
        self.ring = SharedBlock.create(
            layout.nbytes * count, purpose="the ring of batches", at_once=None if at_once else min(count, 1) * layout.nbytes
        )
        try:
            if not at_once:
                self.ring.take(place for slot in range(count) for place in (slot * layout.nbytes, (slot + 1) * layout.nbytes - 8))
            self._lay_out(count)
        except BaseException:
            self.close()  # Nobody else can.
            raise

    def _lay_out(self, count: int) -> None:
        layout = self.layout
        self._states = [FREE] * count
        self._free = list(reversed(range(count)))
        self._returned: deque[LeaseRef] = deque()
        self._owner = os.getpid()
        self._leased = 0
        self._heads = heads_of(layout, self.ring)
        self._heads[:] = -1
        self._canaries = np.ndarray((count,), np.int64, self.ring.bytes, layout.nbytes - 8, (layout.nbytes,))
        self._canaries[:] = CANARY
        self._ragged = bool(layout.schema.ragged)
        places = list(zip(layout.schema, layout.offsets, strict=True))
        self._places = [(field.name, field.shape, field.dtype, at) for field, at in places]
        self._whole = [(field.name, (layout.batch_size, *field.shape), field.dtype, at) for field, at in places]
        """Of each field, its name, shape, dtype and place in a slot that is full, as most are."""
        self._slot_shape = (layout.nbytes,)
        # The mapping itself, not the block, which lets go of it when the loader is closed; nor an array over it: NumPy has an array
        # over an array refer to the first of them, which would pass over the lease.
        self._mapping: mmap.mmap | bytes = self.ring.mapping
        self._leases: list[LeaseRef | None] = [None] * count
        self.ring.keep_for_forks(_leased(self._leases, layout.nbytes))

    def __len__(self) -> int:
        return len(self._states)

    @property
    def states(self) -> tuple[SlotState, ...]:
        """The state of every slot."""
        return tuple(self._states)

    @property
    def leased(self) -> int:
        """Slots that the user's arrays still hold, as far as is known."""
        return self._leased

    @property
    def available(self) -> int:
        """Slots that could be asked for now; less than 0 if some that are in use are to be held back."""
        return len(self._free) + len(self._returned) - self.held_back

    def reserve(self) -> int | None:
        """Take a free slot for a task: the one used last, since caches know it best. None when there is none, or only those held
        back."""
        while self._returned:
            self._release(self._returned.popleft().slot)
        if len(self._free) <= self.held_back:
            return None
        slot = self._free.pop()
        self._states[slot] = ASKED
        return slot

    def commit(self, slot: int, task: int) -> bool:
        """Note that a worker has filled this slot for a task; False if the slot does not bear it out (rule 7)."""
        if self._states[slot] is not ASKED:
            raise self._misplaced(slot, ASKED)
        self._states[slot] = FILLED
        head = self._heads.item(slot)
        return (head == task or head == flawed(task)) and self._canaries.item(slot) == CANARY

    def abort(self, slot: int) -> None:
        """This slot, which was taken for a task, was not filled: the task failed, or nobody was asked."""
        if self._states[slot] is not ASKED:
            raise self._misplaced(slot, ASKED)
        self._states[slot] = FREE
        self._free.append(slot)

    def discard(self, slot: int) -> None:
        """Nobody wants this filled slot."""
        if self._states[slot] is not FILLED:
            raise self._misplaced(slot, FILLED)
        self._states[slot] = FREE
        self._free.append(slot)

    def lease(self, slot: int, count: int) -> tuple[dict[str, Any], NDArray[np.int64], bool]:
        """Show a filled slot of `count` records: its fields, the record numbers, and whether they had to be copied (rule 5).

        The record numbers lie in the slot, too, and hold it as fields do.
        """
        while self._returned:
            self._release(self._returned.popleft().slot)
        layout = self.layout
        if self._leased >= self.spare:
            views = self._arrays(self.ring.bytes[slot * layout.nbytes : (slot + 1) * layout.nbytes], count)
            fields = {name: array.copy() for name, array in views[0].items()}
            records = views[1].copy()
            self.discard(slot)
            return fields, records, True
        if self._states[slot] is not FILLED:
            raise self._misplaced(slot, FILLED)
        self._states[slot] = LEASED
        self._leased += 1
        with LENDING:
            whole: NDArray[np.uint8] = _array(self._slot_shape, UINT8, self._mapping, slot * layout.nbytes)
            self._leases[slot] = ref = LeaseRef(whole, self._returned.append)
            ref.slot = slot
        if count == layout.batch_size and not self._ragged:
            fields = {name: _array(shape, dtype, whole, offset) for name, shape, dtype, offset in self._whole}
            return fields, _array((count,), INT64, whole, layout.records_offset), False
        return *self._arrays(whole, count), False

    def overflown(
        self, slot: int, count: int, capacities: Sequence[int], memory: NDArray[np.uint8]
    ) -> tuple[dict[str, Any], NDArray[np.int64]]:
        """Show a batch that did not fit its slot and lies in `memory`, laid out with these capacities; the slot is free again."""
        layout = SlotLayout.of(self.layout.schema, self.layout.batch_size, capacities)
        self.discard(slot)
        fields, records = layout.arrays(memory, count)
        return fields, records.copy()

    def _arrays(self, whole: NDArray[np.uint8], count: int) -> tuple[dict[str, Any], NDArray[np.int64]]:
        if self._ragged:
            return self.layout.arrays(whole, count)
        fields = {name: np.ndarray((count, *shape), dtype, whole, offset) for name, shape, dtype, offset in self._places}
        return fields, np.ndarray((count,), np.int64, whole, self.layout.records_offset)

    def _release(self, slot: int) -> None:
        if self._states[slot] is not LEASED:
            raise self._misplaced(slot, LEASED)
        self._states[slot] = FREE
        self._leased -= 1
        self._free.append(slot)

    def _misplaced(self, slot: int, expected: SlotState) -> RuntimeError:
        return RuntimeError(f"slot {slot} is {self._states[slot].value}, where it should be {expected.value}: a fault in streamload")

    def close(self) -> None:
        """Let go of the ring. Leased arrays stay valid: the memory goes with the last of them."""
        self._heads = self._canaries = np.empty(0, np.int64)
        self._mapping = b""
        self.ring.close()
