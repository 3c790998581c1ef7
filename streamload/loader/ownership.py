"""The process that a loader belongs to: not a fork of it, and not a worker of somebody else's loader."""

from __future__ import annotations

import os
import sys
from typing import Any

from streamload.errors import LoaderClosedError

CURE = "Use DataLoader(..., batch_size=None, num_workers=0), or iterate over the loader itself: streamload has worker processes of its own."


class Owner:
    """Whose a loader is."""

    def __init__(self, *, copied: bool) -> None:
        self._pid = os.getpid()
        self._copied = copied
        """Whether the loader was made elsewhere, and copied into this process."""

    @property
    def here(self) -> bool:
        """Whether this is the process."""
        return self._pid == os.getpid()

    def check(self) -> None:
        """Raise LoaderClosedError in a fork of the process."""
        if self._pid == os.getpid():
            return
        self._check_alone()
        raise LoaderClosedError(
            "this loader belongs to the process that made it, not to a fork of it.",
            hint="Make a loader in the child, or a copy of this one there (copy.copy): it hands out every record again.",
        )

    def check_pass(self) -> None:
        """Raise LoaderClosedError where a pass begins in one of several workers that were all given this loader."""
        if self._copied:
            self._check_alone()

    def _check_alone(self) -> None:
        found = data_loader_worker()
        if found is not None:
            number, workers = found
            raise LoaderClosedError(
                f"this loader is in worker process {number} of a PyTorch DataLoader with num_workers={workers}, each of which has a copy "
                "of it, and would hand out every record.",
                hint=CURE,
            )

    def advice(self, *, shared_out: bool) -> str | None:
        """What the user should hear of a loader that was made here; `shared_out` says whether it has a part of the records only."""
        found = data_loader_worker()
        if found is None or found[1] < 2 or shared_out:
            return None
        return (
            f"A loader is made in each of the {found[1]} worker processes of a PyTorch DataLoader, and each hands out every record. "
            f"{CURE} Or share the records out among the workers with indices=."
        )


def data_loader_worker() -> tuple[int, int] | None:
    """Which worker process of a PyTorch DataLoader this is, and of how many; None where it is none. Imports nothing."""
    data: Any = sys.modules.get("torch.utils.data")
    found = data.get_worker_info() if data is not None and hasattr(data, "get_worker_info") else None
    return None if found is None else (int(found.id), int(found.num_workers))
