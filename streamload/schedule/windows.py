"""Which windows are open: each lane's in its order, one in each free part of the arena, until the last step that needs it is filled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from streamload.fetch.tasks import LaneKey, StepPiece, WindowKey, WindowTask
from streamload.order import WindowTable
from streamload.schedule.steps import Steps

TableOf = Callable[[LaneKey, int], WindowTable]
"""The table of one epoch of one lane, worked out if that was not done yet. Two epochs of a lane are kept: one, and the next."""


class _Open:
    """A window in the arena, and how many positions of it are still to be filled."""

    __slots__ = ("left", "part")

    def __init__(self, part: int, left: int) -> None:
        self.part = part
        self.left = left


class WindowSchedule:
    """The windows of all lanes that go by windows, and the tables that say what these hold.

    Lanes have parts of the arena of their own, so none waits for another: one part more than a step can touch windows of the
    lane. A table is in use from when it is first needed until nothing that is under way needs it; `may_use` says whether
    another one may take its place.
    """

    def __init__(self, steps: Steps, table_of: TableOf, parts: Mapping[LaneKey, Sequence[int]]) -> None:
        """`parts`: by lane, the parts of the arena that are its own; none where records are read one by one."""
        self._steps = steps
        self._table_of = table_of
        self._parts = {lane: list(numbers) for lane, numbers in parts.items()}
        self._free = {lane: list(numbers) for lane, numbers in parts.items()}
        self._next: dict[LaneKey, tuple[int, int]] = {}
        """By lane, the epoch and the number of the window that is opened next."""
        self._floor: dict[LaneKey, tuple[int, int]] = {}
        """By lane, the epoch and the position that steps began at."""
        self._open: dict[WindowKey, _Open] = {}
        self._uses: dict[LaneKey, Counter[int]] = {lane: Counter() for lane in parts}
        """By lane, how much of what is under way needs the tables of an epoch."""
        self._serial = 0

    @property
    def has_room(self) -> bool:
        """Whether a lane has a free part."""
        return any(self._free.values())

    @property
    def open(self) -> list[WindowKey]:
        """The windows that are open, in the order in which they were opened."""
        return list(self._open)

    def begin(self, epoch: int, position: int) -> int:
        """Stand at a position less than `end`, with nothing under way; returns the position from which on the kernel should
        be told: where the windows of this position begin."""
        self._open.clear()
        self._free = {lane: list(numbers) for lane, numbers in self._parts.items()}
        self._floor = {lane: at for lane, at in self._steps.standing(epoch, position).items() if lane in self._parts}
        first = position
        for lane, (own_epoch, own_position) in self._floor.items():
            self._uses[lane].clear()
            table = self._table_of(lane, own_epoch)
            window = table.window_of(own_position)
            self._next[lane] = own_epoch, window
            if window + 1 < len(table.starts):
                place = self._steps.place(lane, own_epoch, int(table.starts[window]))
                first = min(first, place[1] if place[0] == epoch else 0)
        return first

    def due(self, until: int) -> list[WindowTask]:
        """Windows to be decoded now, lane by lane in turn, while parts are free; none whose steps are of epoch `until` or later."""
        due: list[WindowTask] = []
        lanes = list(self._next)
        while lanes:
            lanes = [lane for lane in lanes if self._free[lane] and self._open_next(lane, until, due)]
        return due

    def _open_next(self, lane: LaneKey, until: int, due: list[WindowTask]) -> bool:
        """Open the next window of a lane that any step needs. False where there is none to open now."""
        while True:
            epoch, window = self._next[lane]
            if self._steps.place(lane, epoch, 0)[0] >= until or not self._may_use(lane, epoch):
                return False
            table = self._table_of(lane, epoch)
            if window + 1 >= len(table.starts):
                if not table.order.n:
                    return False
                self._next[lane] = epoch + 1, 0
                continue
            self._next[lane] = epoch, window + 1
            floor = self._floor[lane][1] if epoch == self._floor[lane][0] else 0
            left = self._steps.taken(lane, epoch, max(int(table.starts[window]), floor), int(table.starts[window + 1]))
            if left > 0:
                break
        part = self._free[lane].pop()
        self._open[(*lane, epoch, window)] = _Open(part, left)
        self._uses[lane][epoch] += 1
        self._serial += 1
        due.append(WindowTask(self._serial, *lane, epoch, window, part))
        return True

    def may_use(self, pieces: Sequence[StepPiece]) -> bool:
        """Whether the tables that pieces need are there, or may take the place of older ones."""
        return all(self._may_use(piece[:2], piece.epoch) for piece in pieces if piece[:2] in self._uses)

    def _may_use(self, lane: LaneKey, epoch: int) -> bool:
        return all(used >= epoch - 1 for used in self._uses[lane])

    def use(self, pieces: Sequence[StepPiece]) -> None:
        """Pieces are asked for: see to it that their tables are there, and stay."""
        for piece in pieces:
            lane = piece[:2]
            if lane in self._uses:
                self._table_of(lane, piece.epoch)
                self._uses[lane][piece.epoch] += 1

    def leave(self, pieces: Sequence[StepPiece], advice: Sequence[StepPiece]) -> None:
        """A step was answered: its windows have that much less to give, and those with nothing left are closed."""
        for piece in (*pieces, *advice):
            if piece[:2] in self._uses:
                self._unuse(piece[:2], piece.epoch)
        for piece in pieces:
            for key, count in self._touched(piece):
                held = self._open.get(key)
                if held is None:
                    continue
                held.left -= count
                if held.left == 0:
                    self._free[piece[:2]].append(held.part)
                    del self._open[key]
                    self._unuse(piece[:2], piece.epoch)

    def _touched(self, piece: StepPiece) -> Iterator[tuple[WindowKey, int]]:
        """The windows that a piece lies in, and how many of its positions each holds."""
        stream, lane, epoch, start, stop = piece
        if not self._parts.get((stream, lane)):
            return
        table = self._table_of((stream, lane), epoch)
        for window in range(table.window_of(start), table.window_of(stop - 1) + 1):
            low, high = int(table.starts[window]), int(table.starts[window + 1])
            yield (stream, lane, epoch, window), min(stop, high) - max(start, low)

    def _unuse(self, lane: LaneKey, epoch: int) -> None:
        uses = self._uses[lane]
        uses[epoch] -= 1
        if not uses[epoch]:
            del uses[epoch]
