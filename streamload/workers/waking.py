"""When the loader is woken, which sleeps where the next step is not filled: after how many steps, and what that says of workers.

Whoever is woken may take the core of a worker, so several quick steps are filled first. How many depends on who runs beside whom. Where
workers go on while the loader is awake, few: it has to send them more in time. Where they do not, they and it take turns on one core, as
they do where several ranks share a machine: then each turn is long, since whoever begins one finds the core's caches full of other
things, and not many steps are under way, since those should be in the caches of the machine still.
"""

from __future__ import annotations

LEAST_ENOUGH, MOST_ENOUGH = 3, 6
"""Steps that are filled before the loader is woken, where they are quick and there are slots."""
MOST_IN_TURNS = 10
"""The same where the loader and its workers take turns."""
SURE, MOST_SURE = 4, 8
"""So many turns one after the other, more than were none, are no accident; what is counted at most, so that an end of them shows."""


class Waking:
    """For how many steps one loader sleeps."""

    def __init__(self, slots: int) -> None:
        """`slots`: of the ring."""
        self._enough = min(max(LEAST_ENOUGH, slots // 3), MOST_ENOUGH)
        self._early = False
        """Whether the loader was woken last before the step that it slept for was filled."""
        self._turn = False
        """Whether all that it slept for was filled when it was woken last, and nothing has been found to be filled since."""
        self._turns = 0
        self.in_turns = False
        """Whether workers fill steps only while the loader sleeps."""

    def found(self) -> None:
        """Steps were filled while the loader was awake."""
        self._turn = False

    def sleep(self, open_steps: int) -> int:
        """Note that the loader goes to sleep; returns for how many steps, of those that are under way."""
        self._turns = min(self._turns + 1, MOST_SURE) if self._turn else max(self._turns - 2, 0)
        self.in_turns = self._turns >= SURE
        self._turn = False
        if self._early:
            return 1
        if self.in_turns:
            return max(1, min(open_steps - 1, MOST_IN_TURNS))  # With one more, a worker that has a core after all goes on.
        return min(open_steps, self._enough)

    def woke(self, *, filled: int, asked: int) -> None:
        """Note that it is awake again: so many steps are filled where it slept for `asked`."""
        self._early = not filled
        self._turn = filled >= asked > 1
