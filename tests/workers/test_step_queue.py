"""Each step goes to one worker, whole, in the order in which it was put; who takes none for a while sleeps."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from streamload.errors import ConfigError, WorkerError
from streamload.fetch.tasks import SegmentRows, StepTask
from streamload.memory.slots import NOT_FILLED
from streamload.order import StepPiece
from streamload.workers import step_queue
from streamload.workers.open_steps import OpenSteps
from streamload.workers.step_queue import LEAST_AWAKE_NS, MOST_AWAKE_NS, MOST_PIECES, StepQueue, StepTaker


def step(number: int, pieces: int = 1) -> StepTask:
    return StepTask(number, number % 7, 0, number, tuple(StepPiece(0, k, 0, number, number + 2) for k in range(pieces)))


@pytest.fixture
def queue() -> Iterator[StepQueue]:
    made = StepQueue()
    yield made
    made.close()


@pytest.fixture
def channels() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def taker_of(queue: StepQueue, channel: socket.socket) -> StepTaker:
    return StepTaker(queue.taken, channel)


def test_every_step_is_taken_once_whole_and_in_order(queue: StepQueue, channels: tuple[socket.socket, socket.socket]) -> None:
    """Two takers in turns: what is long stays whole, and nobody gets what another has."""
    tasks = [step(number, pieces) for number, pieces in enumerate((1, 1, 40, 3, 1, 200, 1))]
    for task in tasks:
        queue.put(task)
    takers = [taker_of(queue, channels[1]) for _ in range(2)]
    assert [takers[number % 2].take() for number in range(len(tasks))] == tasks
    assert [taker.take() for taker in takers] == [None, None]


def test_what_nobody_has_taken_can_be_taken_back(queue: StepQueue, channels: tuple[socket.socket, socket.socket]) -> None:
    taker = taker_of(queue, channels[1])
    for number in range(5):
        queue.put(step(number))
    assert taker.take() == step(0)
    queue.clear()
    assert taker.take() is None
    queue.put(step(9))
    assert taker.take() == step(9)


def test_a_process_that_is_killed_takes_one_step_along(queue: StepQueue, channels: tuple[socket.socket, socket.socket]) -> None:
    """It holds no lock: whoever comes next gets the next step at once."""
    for number in range(3):
        queue.put(step(number))
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        taker_of(queue, channels[1]).take()
        os.write(tell, b"x")
        signal.pause()
    assert os.read(told, 1) == b"x"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(told), os.close(tell)
    taker = taker_of(queue, channels[1])
    assert [taker.take() for _ in range(3)] == [step(1), step(2), None]


def test_a_worker_is_woken_by_a_step_and_by_its_own_socket(queue: StepQueue, channels: tuple[socket.socket, socket.socket]) -> None:
    taker = taker_of(queue, channels[1])
    queue.put(step(1))
    taker.wait()
    assert taker.take() == step(1)
    channels[0].send(b"x")
    taker.wait()
    assert (taker.take(), channels[1].recv(8)) == (None, b"x")


def test_the_time_awake_follows_what_comes_of_it(queue: StepQueue, channels: tuple[socket.socket, socket.socket]) -> None:
    """It is halved while nothing comes, to the least, and doubled again by steps that do come."""
    taker = taker_of(queue, channels[1])
    for _ in range(10):
        assert taker.take_soon() is None
    assert taker._awake_ns == LEAST_AWAKE_NS
    taker._awake_ns = MOST_AWAKE_NS // 2
    queue.put(step(4))
    assert taker.take_soon() == step(4)
    assert taker._awake_ns in (MOST_AWAKE_NS, MOST_AWAKE_NS // 4)  # The latter where others had the core meanwhile.


def test_who_shares_its_core_sleeps_soon(
    queue: StepQueue, channels: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others ran for longer than a moment: they had work to do. A step that came meanwhile is taken all the same."""
    taker = taker_of(queue, channels[1])
    monkeypatch.setattr(step_queue, "_let_others_run", lambda: time.sleep(3 * step_queue.SHARED_NS / 1e9))
    for number in range(3):
        queue.put(step(number))
        assert taker.take_soon() == step(number)
    assert taker._awake_ns == MOST_AWAKE_NS // 8


def test_a_queue_that_is_full_says_so_and_one_that_is_closed_is_a_fault(queue: StepQueue) -> None:
    assert next(number for number in range(100_000) if not queue.put(step(number, MOST_PIECES // 10))) > 9
    queue.clear()
    assert queue.put(step(1))
    queue.close()
    with pytest.raises(WorkerError, match=r"the queue of steps takes none \(Bad file descriptor\): a fault in streamload"):
        queue.put(step(1))


def test_the_longest_step_arrives_whole_and_a_longer_one_goes_without_advice(
    queue: StepQueue, channels: tuple[socket.socket, socket.socket]
) -> None:
    taker, segments = taker_of(queue, channels[1]), tuple(SegmentRows(part, 2, 2) for part in range(127))
    longest = step(1, MOST_PIECES)._replace(segments=segments)
    longer = longest._replace(number=2, advice=(StepPiece(0, 0, 0, 7, 9),))
    assert queue.put(longest)
    assert queue.put(longer)
    assert [taker.take(), taker.take()] == [longest, longer._replace(advice=())]


def test_a_step_of_too_many_pieces_is_an_error_that_says_where_they_come_from(queue: StepQueue) -> None:
    with pytest.raises(
        ConfigError, match=r"from 70,000 stretches of records, and workers can be asked for 5,000.*a small part of a mixture"
    ):
        queue.put(step(1, 70_000))


def test_steps_for_which_there_is_no_room_are_sent_when_there_is(channels: tuple[socket.socket, socket.socket]) -> None:
    """In their order, and not after they were taken back."""
    tasks = [StepTask(number, number, 0, number, step(0, MOST_PIECES).pieces) for number in range(64)]
    heads = np.full(64, NOT_FILLED)
    steps = OpenSteps(heads, workers=1)
    taker, taken, answered = taker_of(steps.queue, channels[1]), [], []
    for task in tasks:
        steps.send(task, now=True)
    while len(answered) < 64:
        while (task := taker.take()) is not None:
            taken.append(task)
            heads[task.slot] = task.number
        some = steps.filled()
        assert some
        answered += some
    assert (taken, [reply.number for reply in answered]) == (tasks, [*range(64)])
    for task in tasks:
        steps.send(task._replace(number=task.number + 64), now=True)
    steps.take_back()
    assert (steps.filled(), taker.take()) == ([], None)
    steps.send_again()
    assert taker.take() == tasks[0]._replace(number=64)
    steps.close()
    assert steps.filled() == []
