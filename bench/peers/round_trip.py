"""What it takes to ask another process for something and to hear back, with nothing done in between."""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time

TRIPS = 5_000
_ECHO = (
    "import socket, sys\n"
    "with socket.socket(fileno=int(sys.argv[1])) as channel:\n"
    "    while message := channel.recv(256):\n"
    "        channel.sendall(message)\n"
)


def round_trip_seconds(trips: int = TRIPS, nbytes: int = 64) -> float:
    """The median over `trips` messages of `nbytes`, there and back, between two Python processes."""
    ours, theirs = socket.socketpair()
    with ours, subprocess.Popen([sys.executable, "-S", "-c", _ECHO, str(theirs.fileno())], pass_fds=[theirs.fileno()]):
        theirs.close()
        message, taken = b"x" * nbytes, []
        for _ in range(trips):
            began = time.perf_counter()
            ours.sendall(message)
            ours.recv(256)
            taken.append(time.perf_counter() - began)
        ours.shutdown(socket.SHUT_RDWR)
    return statistics.median(taken)
