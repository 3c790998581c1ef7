"""Replies wait for company where that takes no longer than it saves, and never for a step that is slow."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from streamload.workers.replies import HELD, Replies


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("pace", list(HELD))
def test_replies_go_out_before_a_step_that_would_keep_them_too_long(ends: tuple[socket.socket, socket.socket], pace: str) -> None:
    """It may take as long as the last one: a batch that is filled is not delivered a whole step later."""
    most, longest = HELD[pace]
    replies = Replies(ends[0], pace)
    replies.hold(b"a", 1_000)
    assert replies.are_due(1_000, step_ns=longest + 1)
    assert replies.are_due(1_001 + longest, step_ns=0)
    assert replies.are_due(1_000 + longest, step_ns=longest) == (most == 1)
    for number in range(1, most):
        assert not replies.are_due(1_000 + number, step_ns=longest // 2)
        replies.hold(b"b", 1_000 + number)
    assert replies.are_due(1_000 + most, step_ns=0)


def test_replies_go_out_in_order_and_together(ends: tuple[socket.socket, socket.socket]) -> None:
    """One that may not wait goes behind those that are held; afterwards the time counts from the next one."""
    replies = Replies(ends[0], "copied")
    replies.hold(b"a", 5)
    replies.hold(b"b", 6)
    with pytest.raises(BlockingIOError):
        ends[1].recv(10)
    replies.send(b"c")
    assert (ends[1].recv(10), replies.held) == (b"abc", [])
    replies.hold(b"d", 10**9)
    assert not replies.are_due(10**9 + 1, step_ns=1)
    replies.flush()
    assert ends[1].recv(10) == b"d"


def test_the_end_of_the_loader_is_noted(ends: tuple[socket.socket, socket.socket]) -> None:
    """Whoever sends to nobody stops."""
    replies = Replies(ends[0], "read")
    ends[1].close()
    assert not replies.ended
    replies.send(b"a")
    assert replies.ended
