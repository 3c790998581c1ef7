"""What this machine allows at most, measured beside every benchmark: copying in memory, and the device that holds the data."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamload.tools.benchmark.comparison import Competitor

COPIED_NBYTES = 128 << 20
"""More than caches hold."""
BATCH_NBYTES = 32 << 20
MOST_BATCHES = 16_384
"""In one pass over what is copied: batches of a few bytes take as long as a call each, however many there are."""
RING_NBYTES = 13 << 19
"""What small batches of a loader lie in, and come out of: caches hold it, so that copying them is faster than copying the data."""
READ_NBYTES = 48 << 20
"""Read at each size and depth."""
DEPTHS = (4, 16, 64)
SEQUENTIAL_NBYTES = 4 << 20
DECODING_SHARE = 0.2
"""Of the workers' time: a pass that decodes for less of it is not limited by that."""
TIMED_SHARE = 0.1
"""Of the bytes that a timed pass delivered: where the device brought in less of them meanwhile, it is no limit of the pass."""


def copy_limits(record_nbytes: int, batch: int, *, copied_nbytes: int = COPIED_NBYTES) -> list[dict[str, Any]]:
    """One core copying records of this size from memory to memory: in order, out of a ring of batches, and at random."""
    batch = max(1, min(batch, BATCH_NBYTES // max(1, record_nbytes)))
    records = min(MOST_BATCHES * batch, max(batch, copied_nbytes // max(1, record_nbytes)))
    config = {"record_nbytes": record_nbytes, "records": records, "batch": batch}
    found: list[dict[str, Any]] = []
    with Competitor("copying", "copying", config) as peer:
        ring = max(2 * batch, RING_NBYTES // max(1, record_nbytes))
        rates = {
            "in order": [peer.run(ring_records=ring).byte_rate for _ in range(3)],
            "at random": [peer.run(scattered=True).byte_rate for _ in range(3)],
        }
    for how, measured in rates.items():
        rate = statistics.median(measured)
        found.append({"name": f"one core copying {record_nbytes:,} B {how}", "kind": "copy", "how": how, "byte_rate": rate})
    return found


def device_limits(files: Sequence[Path], record_nbytes: int) -> list[dict[str, Any]]:
    """The device, past the page cache, at the best of some depths: reads of a record's size at random, large ones in order.

    Nothing where the file system has no direct reads, as in memory.
    """
    largest = max(files, key=lambda path: path.stat().st_size)
    nbytes = largest.stat().st_size
    if not reads_directly(largest) or nbytes < 4096:
        return []
    found: list[dict[str, Any]] = []
    random_nbytes = min(max(512, record_nbytes), SEQUENTIAL_NBYTES, nbytes)
    with Competitor("device", "device", {"path": str(largest)}) as device:
        for order, size in (("random", random_nbytes), ("sequential", min(SEQUENTIAL_NBYTES, nbytes))):
            # Small reads are bound by how many a second there are, and need no megabytes to find that out.
            most = min(READ_NBYTES, max(size, 4096) * 4096)
            rates = {depth: device.run(size=size, depth=depth, order=order, most=most).byte_rate for depth in DEPTHS}
            best = max(rates, key=lambda depth: rates[depth])
            found.append(
                {
                    "name": f"device, direct {order} reads of {size:,} B, depth {best}",
                    "kind": "device",
                    "how": order,
                    "byte_rate": rates[best],
                    "rates": rates,
                }
            )
    return found


def reads_directly(path: Path) -> bool:
    """Whether a file can be read past the page cache."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except (OSError, AttributeError):
        return False
    os.close(fd)
    return True


def beside(one: dict[str, Any], limits: Sequence[dict[str, Any]], *, stored: bool) -> list[dict[str, Any]]:
    """The limits that hold for a pass, in bytes delivered a second, the lowest first, each with the pass's ratio to it.

    `stored` says that the data came from the device, not from memory.
    """
    rate = one["byte_rate"]
    # One process that gathers cannot be faster than one that does nothing else; several can.
    alone = one["workers"] <= 1 and one["order"] in ("exact", "block")
    how = "at random" if alone else "in order"
    found = [(limit, limit["byte_rate"]) for limit in limits if limit["kind"] == "copy" and limit["how"] == how]
    came = one["device_per_used"]
    if stored and came >= TIMED_SHARE:
        how = "random" if one["order"] in ("exact", "user") else "sequential"
        found += [(limit, limit["byte_rate"] / came) for limit in limits if limit["kind"] == "device" and limit["how"] == how]
    decode, workers = one["stats"]["decode_seconds"], max(1, one["workers"])
    if decode > DECODING_SHARE * workers * one["seconds"]:
        name = f"{workers} worker{'s' if workers > 1 else ''} doing nothing but decoding, at the pace of this pass"
        found.append(({"name": name, "kind": "decode"}, one["nbytes"] / decode * workers))
    held = [{"name": limit["name"], "kind": limit["kind"], "byte_rate": most, "ratio": rate / most} for limit, most in found]
    return sorted(held, key=lambda limit: limit["byte_rate"])


def read_ahead(one: dict[str, Any]) -> bool:
    """Whether the data of a cold pass had come in before its first step, so that its rate is that of memory."""
    return one["device_per_used"] < TIMED_SHARE
