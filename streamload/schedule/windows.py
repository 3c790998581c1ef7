"""Which windows are open: each lane's in its order, one in each free part of the arena, until no step will need it any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from streamload.fetch.tasks import LaneKey, WindowKey, WindowTask
from streamload.order import SharedSteps, Standing, StepPiece, WindowTable, taken

TableOf = Callable[[LaneKey, int], WindowTable]
"""The table of one epoch of one lane, worked out if that was not done yet. Two epochs of a lane are kept: one, and the next."""


class LaneParts(NamedTuple):
    """A lane that goes by windows."""

    parts: Sequence[int]
    """The parts of the arena that are its own; none where records are read one by one."""
    least: int
    """Windows of fewer positions are not opened."""


class WindowSchedule:
    """The windows of all lanes that go by windows, and the tables that say what these hold.

    Rules:

    1. Lanes have parts of the arena of their own, so none waits for another: one part more than a step can touch windows of the lane.
    2. A window is closed when the steps that are asked for have passed it and none that touches it is still to be filled. That holds
       for whichever share of it is taken here.
    3. A table is in use from when it is first needed until nothing that is under way needs it; `may_use` says whether another one
       may take its place.
    """

    def __init__(self, steps: SharedSteps, table_of: TableOf, lanes: Mapping[LaneKey, LaneParts]) -> None:
        self._steps = steps
        self._table_of = table_of
        self._lanes = dict(lanes)
        self._free = {lane: list(own.parts) for lane, own in lanes.items()}
        self._next: dict[LaneKey, tuple[int, int]] = {}
        """By lane, the epoch and the number of the window that is opened next."""
        self._at: dict[LaneKey, tuple[int, int]] = {}
        """By lane, the epoch and the position that has been asked for."""
        self._standing: Standing | None = None
        self._open: dict[WindowKey, int] = {}
        """The part that each open window has."""
        self._users: Counter[WindowKey] = Counter()
        """By window, open or not, steps that were asked for, touch it and have not been filled."""
        self._uses: dict[LaneKey, Counter[int]] = {lane: Counter() for lane in lanes}
        """By lane, how much of what is under way needs the tables of an epoch."""
        self._serial = 0
        self.needed = bool(lanes)
        """Whether there are lanes that go by windows: without any, nothing of this has to be asked or told."""

    @property
    def has_room(self) -> bool:
        """Whether a lane has a free part."""
        return any(self._free.values())

    @property
    def open(self) -> list[WindowKey]:
        """The windows that are open, in the order in which they were opened."""
        return list(self._open)

    def begin(self, at: Standing) -> list[StepPiece]:
        """Stand here, with nothing under way; returns what the kernel should be told of beside the steps that follow: the
        beginnings of windows that are half over."""
        self._open.clear()
        self._users.clear()
        self._free = {lane: list(own.parts) for lane, own in self._lanes.items()}
        for uses in self._uses.values():
            uses.clear()
        self._stand(at)
        missed: list[StepPiece] = []
        for lane, (epoch, position) in self._at.items():
            table = self._table_of(lane, epoch)
            window = table.window_of(position)
            self._next[lane] = epoch, window
            if window + 1 < len(table.starts) and table.starts[window] < position:
                missed.append(StepPiece(*lane, epoch, int(table.starts[window]), position))
        return missed

    def _stand(self, at: Standing) -> None:
        self._standing = at
        for lane in self._lanes:
            part, place = self._steps.parts[lane[0]], at.places[lane[0]]
            position = place.position if part.lanes == 1 else taken(place.position, lane[1], part.lanes, part.n)
            self._at[lane] = place.epoch, position

    def due(self, until: int) -> list[WindowTask]:
        """Windows to be decoded now, lane by lane in turn, while parts are free; none whose steps are of epoch `until` or later."""
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
        """Of each stream, an epoch of its own that no step before the user's epoch `until` comes to."""
        at = self._standing
        assert at is not None
        if len(self._steps.parts) == 1:
            return [at.places[0].epoch + until - at.epoch]
        left = self._steps.left(at) + (until - at.epoch - 1) * (len(self._steps) + 1)
        sizes = [(place, part.n, left * part.count * self._steps.ranks) for place, part in zip(at.places, self._steps.parts, strict=True)]
        return [place.epoch + -(-(place.position + more) // n) if n else 0 for place, n, more in sizes]

    def _open_next(self, lane: LaneKey, limit: int, due: list[WindowTask]) -> bool:
        """Open the next window of a lane that any step needs. False where there is none to open now."""
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
        """Whether no step that is still to be asked for touches a window."""
        stream, lane, epoch, window = key
        at, position = self._at[stream, lane]
        if at != epoch:
            return at > epoch
        stop = int((table or self._table_of((stream, lane), epoch)).starts[window + 1])
        return min(stop, self._end((stream, lane), epoch)) <= position

    def _end(self, lane: LaneKey, epoch: int) -> int:
        """Up to which position of a lane's epoch steps come: not to its end, where a short step is left out."""
        steps, at = self._steps, self._standing
        part = steps.parts[lane[0]]
        if not steps.drop_last or len(steps.parts) > 1:
            return part.n
        assert at is not None
        size, place = part.count * steps.ranks, at.places[0]
        last = place.position + steps.left(at) * size if epoch == place.epoch else len(steps) * size
        return taken(last, lane[1], part.lanes, part.n)

    def may_use(self, pieces: Sequence[StepPiece]) -> bool:
        """Whether the tables that pieces need are there, or may take the place of older ones."""
        return not self._lanes or all(self._may_use(piece[:2], piece.epoch) for piece in pieces if piece[:2] in self._uses)

    def _may_use(self, lane: LaneKey, epoch: int) -> bool:
        return all(used >= epoch - 1 for used in self._uses[lane])

    def ask(self, pieces: Sequence[StepPiece], end: Standing) -> None:
        """A step is asked for, and those that follow begin at `end`."""
        if not self._lanes:
            self._standing = end
            return
        self.use(pieces)
        for key in self._touched(pieces):
            self._users[key] += 1
        self._stand(end)
        for key in [key for key in self._open if not self._users[key] and self._passed(key)]:
            self._close(key)

    def use(self, pieces: Sequence[StepPiece]) -> None:
        """See to it that the tables of pieces are there, and stay."""
        for piece in pieces if self._lanes else ():
            lane = piece[:2]
            if lane in self._uses:
                self._table_of(lane, piece.epoch)
                self._uses[lane][piece.epoch] += 1

    def leave(self, pieces: Sequence[StepPiece], advice: Sequence[StepPiece]) -> None:
        """A step was answered: windows that no other will touch are closed."""
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
        """The windows that are or will be open for pieces, as often as pieces lie in them."""
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
