"""Windows that are being decoded into the arena, as one worker sees them: its share of their blocks, and what lies there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload import kernels
from streamload.errors import StreamloadError
from streamload.fault_points import reach
from streamload.fetch.job import Job
from streamload.fetch.ragged_collate import Region, WindowSlice, offsets_of
from streamload.fetch.tasks import StepTask, WindowTask
from streamload.memory.progress import WorkerProgress
from streamload.memory.shared_memory import SharedBlock
from streamload.order import WINDOWED, WindowTable
from streamload.source import RaggedReader, Reader

ADVISED_BLOCKS = 32
"""Blocks of a share that readers are told of at a time, at least one such stretch ahead of decoding."""


def _ended(*_: object) -> Any:
    """What is asked of windows that were closed."""
    raise RuntimeError("windows are asked for after they were closed: a fault in streamload")


class OpenWindow:
    """A window that is being decoded: which blocks it has, and how far this worker's share of them is."""

    def __init__(self, task: WindowTask, table: WindowTable, share: range) -> None:
        self.task = task
        self.blocks = table.blocks_of(task.window).copy()  # Tables are written again two epochs later.
        self.rows = table.held_starts(task.window)
        self.share = share
        self.done = 0
        self.told = 0
        """Of the share, the blocks that readers have been told of."""
        self.firsts: dict[str, NDArray[np.int64]] = {}
        """Of ragged fields: where the room of each block begins in the part of the arena, and their end."""


class WindowDecoder:
    """The windows that are open, and the fields that are decoded into them."""

    def __init__(
        self,
        job: Job,
        *,
        index: int,
        board: WorkerProgress,
        arena: SharedBlock | None,
        table_of: Callable[[int], WindowTable],
        gather: Callable[[Reader, NDArray[np.int64], NDArray[Any], NDArray[np.int64]], None],
        verify: Callable[[], None],
    ) -> None:
        self.decoded: list[tuple[str, Reader]] = []
        """Fixed fields that are decoded into the arena."""
        self.kept: list[tuple[str, RaggedReader]] = []
        """Ragged fields, and stored bytes of encoded ones, that are decoded into the arena."""
        self.regions: dict[str, list[Region]] = {}
        """Of the latter, where they lie in each part of the arena."""
        self._job = job
        self._index = index
        self._board = board
        self._table_of = table_of
        self._gather = gather
        self._verify = verify
        self._parts: list[dict[str, NDArray[Any]]] = []
        if job.arena is not None and arena is not None:
            self._parts = [job.arena.views(arena, part) for part in range(job.arena.parts)]
            places = [job.arena.places(arena, part) for part in range(job.arena.parts)]
            for name in places[0]:
                self.regions[name] = [Region(part[name], *place[name]) for part, place in zip(self._parts, places, strict=True)]
        self._open: dict[tuple[int, int], OpenWindow] = {}
        self._rows = np.arange(job.layout.batch_size if job.layout else 0, dtype=np.int64)
        self._places: list[list[tuple[str, int, int]]] = []
        """Of each part, the fixed fields: name, address, and bytes of a record."""

    def close(self) -> None:
        """Let go of the arena, and of whoever made this: the two would otherwise keep each other, and the arena, alive."""
        self._open.clear()
        self.decoded, self.kept, self.regions, self._parts, self._places = [], [], {}, [], []
        self._table_of, self._gather, self._verify = _ended, _ended, _ended

    @property
    def needed(self) -> bool:
        """Whether any field is decoded into windows."""
        return bool(self.decoded or self.kept)

    def open(self, task: WindowTask) -> None:
        """Take on this worker's share of a window."""
        table = self._table_of(task.epoch)
        for key in [key for key, window in self._open.items() if window.task.part == task.part]:
            del self._open[key]
        count = len(table.blocks_of(task.window))
        opened = OpenWindow(task, table, self._share(self._index, task.window, count))
        if self._job.arena is not None:
            for field, rooms in zip(self._job.arena.fields, self._job.arena.rooms, strict=True):
                if rooms is not None:
                    opened.firsts[field.name] = offsets_of(rooms[opened.blocks])
        opened.done = self._board.progress(self._index, task.part, task.serial)  # Not 0 where a worker died at it.
        opened.told = opened.done
        self._open[task.epoch, task.window] = opened
        self._board.publish(self._index, task.part, task.serial, opened.done)
        self._tell()

    def _share(self, worker: int, window: int, count: int) -> range:
        """Which of a window's `count` blocks a worker decodes: where they do not go round, another one has more in the next window."""
        return range((worker + window) % self._job.workers, count, self._job.workers)

    def forget(self) -> None:
        """Leave every window that was opened."""
        self._open.clear()

    def decode_next(self) -> bool:
        """Decode the next block of this worker's share, in the order in which windows were opened. False if there is none."""
        for window in self._open.values():
            if window.done < len(window.share):
                self._decode(window, window.share[window.done])
                window.done += 1
                self._board.publish(self._index, window.task.part, window.task.serial, window.done)
                return True
        return False

    def _decode(self, window: OpenWindow, which: int) -> None:
        order = self._job.order
        assert isinstance(order, WINDOWED)
        self._tell()
        records = order.block_records(int(window.blocks[which]))
        rows = np.arange(window.rows[which], window.rows[which + 1], dtype=np.int64)
        arrays = self._parts[window.task.part]
        reach("mid_block_decode")
        for name, reader in self.decoded:
            self._gather(reader, records, arrays[name], rows)
        for name, reader in self.kept:
            first, stop = window.firsts[name][which : which + 2].tolist()
            self.regions[name][window.task.part].keep(reader, records, int(rows[0]), int(rows[-1]) + 1, first, stop - first)
        self._verify()

    def _tell(self) -> None:
        """Tell readers of the blocks that come next, in the order of decoding: one to two stretches of them."""
        ahead = sum(window.told - window.done for window in self._open.values())
        for window in self._open.values():
            while ahead <= ADVISED_BLOCKS and window.told < len(window.share):
                start, window.told = window.told, min(window.told + ADVISED_BLOCKS, len(window.share))
                self._advise_share(window, start, window.told)
                ahead += window.told - start

    def _advise_share(self, window: OpenWindow, start: int, stop: int) -> None:
        """Tell readers of the blocks [start, stop) of this worker's share, so that decoding need not wait for storage."""
        order = self._job.order
        assert isinstance(order, WINDOWED)
        blocks = [order.block_records(int(window.blocks[which])) for which in window.share[start:stop]]
        if not blocks:
            return
        records = np.concatenate(blocks)
        for _, reader in (*self.decoded, *self.kept):
            try:
                # What is decoded is read by whoever decodes it: a reader may do more with that than with advice.
                getattr(reader, "expect", reader.advise)(records)
            except StreamloadError:
                pass  # Whatever is wrong, decoding these blocks will say it.

    def ready(self, task: StepTask) -> bool:
        """Whether every block that the step needs is in the arena."""
        if not self.needed:
            return True
        table = self._table_of(task.epoch)
        for number in range(table.window_of(task.start), table.window_of(task.stop - 1) + 1):
            window = self._open.get((task.epoch, number))
            if window is None:
                return False
            for worker in range(self._job.workers):
                wanted = len(self._share(worker, number, len(window.blocks)))
                if not self._board.published(worker, window.task.part, window.task.serial, wanted):
                    return False
        return True

    def pieces(self, task: StepTask) -> list[WindowSlice]:
        """The positions of a step, by the windows that hold them."""
        if not self.needed:
            return []
        table, found = self._table_of(task.epoch), list[WindowSlice]()
        for number in range(table.window_of(task.start), table.window_of(task.stop - 1) + 1):
            low, high = int(table.starts[number]), int(table.starts[number + 1])
            first, last = max(task.start, low), min(task.stop, high)
            held = table.deal(number, first - low, last - low)
            found.append(WindowSlice(self._open[task.epoch, number].task.part, held, first - task.start, last - task.start))
        return found

    def gather_decoded(self, target: dict[str, NDArray[Any]], pieces: Sequence[WindowSlice]) -> None:
        """Copy records of the fixed fields from the arena into rows of a batch."""
        if not self._places:
            assert self._job.arena is not None
            # The width is the field's: a value of fixed-length bytes tells the length that it has without the zeros at its end.
            widths = {field.name: field.nbytes for field in self._job.arena.fields}
            names = [name for name, _ in self.decoded]
            self._places = [[(name, part[name].ctypes.data, widths[name]) for name in names] for part in self._parts]
        copy_rows = kernels.gather_kernels().copy_rows
        for piece in pieces:
            rows = self._rows[piece.start : piece.stop]
            for name, address, nbytes in self._places[piece.part]:
                copy_rows(address, piece.rows * nbytes, nbytes, target[name].__array_interface__["data"][0], rows)

    def decode_stored(self, name: str, reader: Any, records: NDArray[np.int64], out: NDArray[Any], pieces: Sequence[WindowSlice]) -> None:
        """Decode records of an encoded field straight from their stored bytes in the arena into rows of a batch."""
        for piece in pieces:
            region, rows = self.regions[name][piece.part], np.arange(piece.start, piece.stop, dtype=np.int64)
            chosen, starts, lengths = records[piece.start : piece.stop], region.starts[piece.rows], region.lengths[piece.rows]
            here = starts >= 0
            if here.all():
                reader.decode(chosen, region.values, starts, lengths, out, rows)
                continue
            reader.decode(chosen[here], region.values, starts[here], lengths[here], out, rows[here])
            reader.gather(chosen[~here], out, rows[~here])
