"""Which windows are open, that is decoded or being decoded: for each lane, in its order, one in each of its parts of the arena.

A window is opened as soon as a part of the arena is free for it, and closed when no step will need it any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from streamload.fetch.tasks import LaneKey, WindowKey, WindowTask
from streamload.order import RunPosition, SharedSteps, StepPiece, WindowTable, taken

TableOf = Callable[[LaneKey, int], WindowTable]
"""The window table of a lane's epoch, computed at the first call. The tables of two successive epochs of a lane are kept: that of a
third takes the place of the first."""


class LaneParts(NamedTuple):
    """Room in the arena for a lane whose order has windows."""

    parts: Sequence[int]
    """The numbers of the parts of the arena that belong to it; empty if its records are read one by one."""
    least: int
    """Windows of fewer positions are not opened: their records are read one by one."""


class WindowSchedule:
    """The open windows of all lanes whose orders have windows, and which of their tables are in use.

    Rules:

    1. Every lane has parts of the arena of its own, so that no lane waits for another: one more than the windows that one step of the
       lane can touch.
    2. A window is closed when every step that touches it has been sent, and has been answered. Ranks that read other steps do not
       matter: each process decodes windows for its own steps.
    3. The table of an epoch is in use from the first need of it until no task that is under way needs it. `may_use` says whether
       the table of a later epoch may take the place of an earlier one.

    For each step the scheduler calls `may_use`, then `ask` and sends it; `use` for the advice that goes with it; and `leave` when it
    was answered.
    """

    def __init__(self, steps: SharedSteps, table_of: TableOf, lanes: Mapping[LaneKey, LaneParts]) -> None:
        """`lanes`: those whose orders have windows; others need none of this."""
        self._steps = steps
        self._table_of = table_of
        self._lanes = dict(lanes)
        self._free = {lane: list(own.parts) for lane, own in lanes.items()}
        self._next: dict[LaneKey, tuple[int, int]] = {}
        """By lane, the epoch and the number of the window that is opened next."""
        self._at: dict[LaneKey, tuple[int, int]] = {}
        """By lane, the epoch and the position up to which steps have been sent."""
        self._position: RunPosition | None = None
        """The position up to which steps have been sent."""
        self._open: dict[WindowKey, int] = {}
        """The part of the arena that each open window has."""
        self._users: Counter[WindowKey] = Counter()
        """By window, open or not: the steps that touch it, have been sent and have not been answered."""
        self._uses: dict[LaneKey, Counter[int]] = {lane: Counter() for lane in lanes}
        """By lane and epoch: open windows, and pieces of steps and advice under way, that need the table of that epoch."""
        self._serial = 0
        self.needed = bool(lanes)
        """Whether any lane has windows. If none has, the scheduler may leave out every call but `begin`."""

    @property
    def has_room(self) -> bool:
        """Whether any lane has a free part of the arena."""
        return any(self._free.values())

    @property
    def open(self) -> list[WindowKey]:
        """The windows that are open, in the order in which they were opened."""
        return list(self._open)

    def begin(self, at: RunPosition) -> list[StepPiece]:
        """Start again at this position, with no window open and nothing under way.

        Returns the positions before it which `Advice` has to begin with: windows that the position lies in are decoded from their
        beginning.
        """
        self._open.clear()
        self._users.clear()
        self._free = {lane: list(own.parts) for lane, own in self._lanes.items()}
        for uses in self._uses.values():
            uses.clear()
        self._move(at)
        missed: list[StepPiece] = []
        for lane, (epoch, position) in self._at.items():
            table = self._table_of(lane, epoch)
            window = table.window_of(position)
            self._next[lane] = epoch, window
            if window + 1 < len(table.starts) and table.starts[window] < position:
                missed.append(StepPiece(*lane, epoch, int(table.starts[window]), position))
        return missed

    def _move(self, at: RunPosition) -> None:
        """Note up to where steps have been sent."""
        self._position = at
        for lane in self._lanes:
            part, (epoch, passed) = self._steps.parts[lane[0]], at.positions[lane[0]]
            self._at[lane] = epoch, passed if part.lanes == 1 else taken(passed, lane[1], part.lanes, part.n)

    def due(self, until: int) -> list[WindowTask]:
        """Open windows while parts of the arena are free, one of each lane in turn; returns the tasks to send to every worker.

        None is opened that only steps of the run's epoch `until` or later need.
        """
        due: list[WindowTask] = []
        if not self._lanes:
            return due
        lanes = [lane for lane in self._next if self._free[lane]]
        if lanes:
            limits = self._limits(until)
            while lanes:
                lanes = [lane for lane in lanes if self._free[lane] and self._open_next(lane, limits[lane[0]], due)]
        return due

    def _limits(self, until: int) -> list[int]:
        """By part of the run, an epoch of that part which no step before the run's epoch `until` reaches."""
        at = self._position
        assert at is not None
        if len(self._steps.parts) == 1:
            return [at.positions[0].epoch + until - at.epoch]
        left = self._steps.left(at) + (until - at.epoch - 1) * (len(self._steps) + 1)
        parts = zip(at.positions, self._steps.parts, strict=True)
        sizes = [(epoch, position, part.n, left * part.count * self._steps.ranks) for (epoch, position), part in parts]
        return [epoch + -(-(position + more) // n) if n else 0 for epoch, position, n, more in sizes]

    def _open_next(self, lane: LaneKey, limit: int, due: list[WindowTask]) -> bool:
        """Open the next window of a lane that a step needs, in an epoch below `limit`, and add its task to `due`. False if there is
        none that may be opened now."""
        while True:
            epoch, window = self._next[lane]
            if epoch >= limit or epoch > self._at[lane][0] + 1 or not self._may_use(lane, epoch):
                return False
            table = self._table_of(lane, epoch)
            if window + 1 >= len(table.starts):
                if not table.starts[-1]:
                    return False
                self._next[lane] = epoch + 1, 0
                continue
            self._next[lane] = epoch, window + 1
            key = (*lane, epoch, window)
            first, stop = table.starts[window : window + 2].tolist()
            wide_enough = stop - first >= max(1, self._lanes[lane].least) and first < self._end(lane, epoch)
            if wide_enough and not (self._passed(key, table) and not self._users[key]):
                break
        self._open[key] = part = self._free[lane].pop()
        self._uses[lane][epoch] += 1
        self._serial += 1
        due.append(WindowTask(self._serial, *key, part, len(table.blocks_of(window))))
        return True

    def _passed(self, key: WindowKey, table: WindowTable | None = None) -> bool:
        """Whether no step that is still to be sent touches a window."""
        stream, lane, epoch, window = key
        at, position = self._at[stream, lane]
        if at != epoch:
            return at > epoch
        stop = int((table or self._table_of((stream, lane), epoch)).starts[window + 1])
        return min(stop, self._end((stream, lane), epoch)) <= position

    def _end(self, lane: LaneKey, epoch: int) -> int:
        """The position of a lane's epoch at which its steps end: before its last records, if `drop_last` leaves out a short step."""
        steps, at = self._steps, self._position
        part = steps.parts[lane[0]]
        if not steps.drop_last or len(steps.parts) > 1:
            return part.n
        assert at is not None
        size, (present, passed) = part.count * steps.ranks, at.positions[0]
        last = passed + steps.left(at) * size if epoch == present else len(steps) * size
        return taken(last, lane[1], part.lanes, part.n)

    def may_use(self, pieces: Sequence[StepPiece]) -> bool:
        """Whether the tables that pieces need are there, or may take the place of tables that nothing uses any more."""
        return not self._lanes or all(self._may_use(piece[:2], piece.epoch) for piece in pieces if piece[:2] in self._uses)

    def _may_use(self, lane: LaneKey, epoch: int) -> bool:
        return all(used >= epoch - 1 for used in self._uses[lane])

    def ask(self, pieces: Sequence[StepPiece], end: RunPosition) -> None:
        """Note that a step of these pieces is being sent, after which the run is at `end`."""
        if not self._lanes:
            self._position = end
            return
        self.use(pieces)
        for key in self._touched(pieces):
            self._users[key] += 1
        self._move(end)
        for key in [key for key in self._open if not self._users[key] and self._passed(key)]:
            self._close(key)

    def use(self, pieces: Sequence[StepPiece]) -> None:
        """Have the tables of pieces computed, and keep them until `leave` is called with the same pieces."""
        for piece in pieces if self._lanes else ():
            lane = piece[:2]
            if lane in self._uses:
                self._table_of(lane, piece.epoch)
                self._uses[lane][piece.epoch] += 1

    def leave(self, pieces: Sequence[StepPiece], advice: Sequence[StepPiece]) -> None:
        """Note that a step was answered, with the advice that went with it. Closes windows that no other step will touch."""
        if not self._lanes:
            return
        for key in list(self._touched(pieces)):
            self._users[key] -= 1
            if self._users[key] <= 0:
                del self._users[key]
                if key in self._open and self._passed(key):
                    self._close(key)
        for piece in (*pieces, *advice):
            if piece[:2] in self._uses:
                self._unuse(piece[:2], piece.epoch)

    def _close(self, key: WindowKey) -> None:
        self._free[key[:2]].append(self._open.pop(key))
        self._unuse(key[:2], key[2])

    def _touched(self, pieces: Sequence[StepPiece]) -> Iterator[WindowKey]:
        """The windows that pieces lie in, once for each piece, of lanes that have parts of the arena."""
        for stream, lane, epoch, start, stop in pieces:
            own = self._lanes.get((stream, lane))
            if own is not None and own.parts:
                for window in self._table_of((stream, lane), epoch).windows_between(start, stop, least=own.least):
                    yield stream, lane, epoch, window

    def _unuse(self, lane: LaneKey, epoch: int) -> None:
        uses = self._uses[lane]
        uses[epoch] -= 1
        if not uses[epoch]:
            del uses[epoch]
