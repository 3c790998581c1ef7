"""What a benchmark came to, in a sentence, and what to change, each piece of advice with the figure that it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streamload.sizes import format_nbytes

NEAR = 0.8
"""From this share of a limit on, the limit is what holds a pass up."""
BOUND = ("copy", "device")
"""Limits that are the machine's. That of decoding is the codec's, and is named as what sets the pace."""
MUCH = 2.0
"""Bytes read for each byte used, from which on it is worth saying."""
GAIN = 1.1


def verdict(best: Mapping[str, Any]) -> str:
    """One sentence: how fast, which share of which limit, and what set the pace."""
    limit = best["limits"][0] if best["limits"] else None
    beside = f", {100 * limit['ratio']:.0f} % of what {limit['name']} gives" if limit else ""
    return f"{best['rate']:,.0f} records/s with {best['workers']} workers{beside}; {_pace(best)}"


def _pace(best: Mapping[str, Any]) -> str:
    if _at_the_limit(best):
        return "the machine is the limit"
    return {
        "consumer": "copying batches out set the pace, not the loader",
        "disk": "waiting for storage set the pace",
        "decode": "decoding set the pace",
        "transport": "copying and handing over set the pace",
    }[best["bottleneck"]]


def _at_the_limit(best: Mapping[str, Any]) -> bool:
    """Whether a pass is near the lowest of its limits, and that one the machine's."""
    limit = best["limits"][0] if best["limits"] else None
    return limit is not None and limit["kind"] in BOUND and limit["ratio"] >= NEAR


def changes(passes: Sequence[Mapping[str, Any]], *, cores: int, asked_workers: int | None) -> Iterator[str]:
    """What to change, the most promising first; nothing where nothing is known to help."""
    best = max(passes, key=lambda one: one["rate"])
    others = [one for one in passes if one["workers"] != best["workers"]]
    if others and (asked_workers is None or best["workers"] != asked_workers):
        second = max(others, key=lambda one: one["rate"])
        yield f"num_workers={best['workers']}: {best['rate'] / second['rate']:.2f} times the records a second of {second['workers']}"
    read = best["read_nbytes"] / best["used_nbytes"] if best["used_nbytes"] else 0.0
    if read >= MUCH:
        yield (
            f"shuffle=sl.Block(), or `streamload convert --chunk-records 1`: {read:.1f} bytes are read for each byte used, "
            "because blocks are read for single records"
        )
    near = _at_the_limit(best)
    tried = max(one["workers"] for one in passes)
    if not near and best["bottleneck"] == "decode" and best["workers"] == tried and tried < cores:
        yield f"more workers: decoding takes {best['stats']['decode_seconds']:.1f} s of {tried}, and {cores} cores are there"
    elif best["bottleneck"] == "decode" and best["workers"] >= cores:
        yield "`streamload convert --codec none`: all cores decode already"
    if best["bottleneck"] == "disk":
        if best["order"] == "exact" and not near:
            yield 'io="direct" or "read" (see `streamload tune`), or shuffle=sl.Block(): the device gives more than random order takes'
        elif near:
            yield "a faster disk, smaller records or a lighter codec: the device gives no more"
    if best["memory"]["own_nbytes"] > GAIN * (best["budget_nbytes"] + 512 * 1024**2):
        yield f"less memory=: processes hold {format_nbytes(best['memory']['own_nbytes'])}"
