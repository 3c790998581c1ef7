"""Processes that each do their share of a pass whenever they are told to: the bare limits that loaders are set beside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from multiprocessing import get_context
from typing import Any

from streamload.tools.benchmark.peers.serving import Clock, Config, Sink


def forked_passes(work: Callable[..., None], shares: Iterable[tuple[Any, ...]], *, records: int, nbytes: int, settle: bool = True) -> Any:
    """What makes one pass: a process is forked for each of `shares`, and runs `work(*share, connection)`, which waits to be told.

    `records` and `nbytes` are those of a pass, of all processes together; with `settle` one goes before those that are timed.
    """
    context = get_context("fork")
    connections: list[Any] = []
    for share in shares:
        ours, theirs = context.Pipe()
        context.Process(target=work, args=(*share, theirs), daemon=True).start()
        connections.append(ours)
    sink = Sink(1, 1)

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink, request)
        for connection in connections:
            connection.send(True)
        for connection in connections:
            connection.recv()
        sink.records, sink.nbytes = records, nbytes
        return clock.stop()

    if settle:
        one_pass({})
    return one_pass
