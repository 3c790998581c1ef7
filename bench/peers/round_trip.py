"""What it takes to ask another process for something and to hear back, with nothing done in between."""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from types import TracebackType

TRIPS = 5_000
_ECHO = (
    "import socket, sys\n"
    "with socket.socket(fileno=int(sys.argv[1])) as channel:\n"
    "    while message := channel.recv(256):\n"
    "        channel.sendall(message)\n"
)


class Echo:
    """Another Python process that answers every message with itself."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen([sys.executable, "-S", "-c", _ECHO, str(theirs.fileno())], pass_fds=[theirs.fileno()])

    def trip(self, message: bytes) -> bytes:
        """There and back; at most 256 bytes."""
        self._channel.sendall(message)
        return self._channel.recv(256)

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._channel.close()
        self._process.wait()


def round_trip_seconds(trips: int = TRIPS, nbytes: int = 64) -> float:
    """The median over `trips` messages of `nbytes`, there and back."""
    message, taken = b"x" * nbytes, []
    with Echo() as echo:
        for _ in range(trips):
            began = time.perf_counter()
            echo.trip(message)
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)
