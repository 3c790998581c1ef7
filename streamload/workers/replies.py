"""What a worker answers, held for a moment: waking the loader costs it more than a reply does."""

from __future__ import annotations

import socket

HELD = {"copied": (4, 600_000), "read": (3, 150_000), "transformed": (1, 0)}
"""By the pace of steps (`BatchFetcher.pace`), how many replies are sent together while there is more to do, and how many
nanoseconds one may be old, or a step take, before they go out: whoever is woken takes a core from a worker, and none should wait for a
step that may take as long as a disk or a transform does."""


class Replies:
    """The replies of one worker that have not been sent."""

    def __init__(self, channel: socket.socket, pace: str) -> None:
        self._channel = channel
        self.held: list[bytes] = []
        """Frames, the oldest first."""
        self._since_ns = 0
        self._most, self._longest_ns = HELD[pace]
        self.ended = False
        """Whether the loader has closed its end."""

    def hold(self, frame: bytes, now: int) -> None:
        """Keep a reply for others to go with it; `now` is in nanoseconds, as everywhere here."""
        self.held.append(frame)
        if len(self.held) == 1:
            self._since_ns = now

    def are_due(self, now: int, step_ns: int) -> bool:
        """Whether replies go out before the next step, which may take as long as the last one did: `step_ns`."""
        return len(self.held) >= self._most or step_ns > self._longest_ns or now - self._since_ns > self._longest_ns

    def send(self, frame: bytes) -> None:
        """Send a frame, behind all that are held."""
        self.held.append(frame)
        self.flush()

    def flush(self) -> None:
        """Send all that are held, at once."""
        frames, self.held = b"".join(self.held), []
        try:
            self._channel.sendall(frames)
        except OSError:
            self.ended = True
