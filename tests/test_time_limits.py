"""Limits of time hold on an idle machine, and grow on a busy one."""

from __future__ import annotations

import time

from time_limits import MOST_TIMES_SLOWER, Deadline, slowness, within


def test_a_limit_is_never_shortened_and_grows_by_the_slowness_measured():
    """From 1 time to as many as are taken for a living machine."""
    assert 1 <= slowness() <= MOST_TIMES_SLOWER
    assert within(1.0, 1.0)
    assert not within(2 * MOST_TIMES_SLOWER, 1.0)


def test_a_deadline_passes_however_slow_the_machine_is():
    """Later than it says, and not for ever."""
    began, deadline = time.monotonic(), Deadline(0.01)
    assert not deadline.passed
    while not deadline.passed:
        time.sleep(0.001)
    assert time.monotonic() - began >= 0.01
