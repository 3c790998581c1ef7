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
HARDLY = 0.05
"""Up to this many bytes from the device for each byte used, the files were in memory."""


def verdict(best: Mapping[str, Any]) -> str:
    """One sentence: how fast, which share of which limit, and what set the pace."""
    limit = best["limits"][0] if best["limits"] else None
    beside = f", {100 * limit['ratio']:.0f} % of what {limit['name']} gives" if limit else ""
    return f"{best['rate']:,.0f} records/s with {workers_said(best['workers'])}{beside}; {pace_of(best)}"


def workers_said(count: int) -> str:
    """So many workers, in words."""
    return f"{count} worker{'' if count == 1 else 's'}"


def pass_verdict(one: Mapping[str, Any]) -> str:
    """What the loader's counters say of a pass, but for files that are in memory, which no faster disk would help."""
    said: str = one["verdict"]
    return f"{said.partition(': for storage')[0]}: for files to be opened and read, which are in memory" if _reads_memory(one) else said


def _reads_memory(one: Mapping[str, Any]) -> bool:
    """Whether a pass waited for files, and next to nothing of them came from the device."""
    return one["bottleneck"] == "disk" and one.get("device_per_used", 1.0) < HARDLY


def pace_of(best: Mapping[str, Any]) -> str:
    """What set the pace of a pass, in words."""
    if _at_the_limit(best):
        return "the machine is the limit"
    if _reads_memory(best):
        return "opening and reading files set the pace"
    return {
        "consumer": "copying batches out set the pace, not the loader",
        "disk": "waiting for storage set the pace",
        "decode": "decoding set the pace",
        "transport": "copying and handing over set the pace",
        "start": "there was one batch, and that is how long it took to come",
    }[best["bottleneck"]]


def _at_the_limit(best: Mapping[str, Any]) -> bool:
    """Whether a pass is near the lowest of its limits, and that one the machine's."""
    limit = best["limits"][0] if best["limits"] else None
    return limit is not None and limit["kind"] in BOUND and limit["ratio"] >= NEAR


def changes(
    passes: Sequence[Mapping[str, Any]], *, cores: int, asked_workers: int | None, convert: str, many_files: bool = False
) -> Iterator[str]:
    """What to change, the most promising first; nothing where nothing is known to help.

    `convert` is the command that makes arrays, `many_files` whether a file holds few records, so that to open files takes its time.
    """
    best = max(passes, key=lambda one: one["rate"])
    others = [one for one in passes if one["workers"] != best["workers"]]
    if others and (asked_workers is None or best["workers"] != asked_workers):
        second = max(others, key=lambda one: one["rate"])
        yield f"num_workers={best['workers']}: {best['rate'] / second['rate']:.2f} times the records a second of {second['workers']}"
    read = best["read_nbytes"] / best["used_nbytes"] if best["used_nbytes"] else 0.0
    if read >= MUCH:
        yield (
            f"shuffle=sl.Block(), or `{convert} --chunk-records 1`: {read:.1f} bytes are read for each byte used, "
            "because blocks are read for single records"
        )
    near = _at_the_limit(best)
    tried = max(one["workers"] for one in passes)
    if not near and best["bottleneck"] == "decode" and best["workers"] == tried and tried < cores:
        yield f"more workers: decoding takes {best['stats']['decode_seconds']:.1f} s of {tried}, and {cores} cores are there"
    elif best["bottleneck"] == "decode" and best["workers"] >= cores:
        yield f"`{convert}` makes arrays that need no decoding: all cores decode already"
    if _reads_memory(best):
        if many_files and not near:
            yield f"one file in place of many, `{convert}`: opening and reading them set the pace, and they are in memory already"
    elif best["bottleneck"] == "disk":
        if best["order"] == "exact" and not near:
            yield 'io="direct" or "read" (see `streamload tune`), or shuffle=sl.Block(): the device gives more than random order takes'
        elif near and best["limits"][0]["kind"] == "device":
            yield "a faster disk, smaller records or a lighter codec: the device gives no more"
    if best["memory"]["own_nbytes"] > GAIN * (best["budget_nbytes"] + 512 * 1024**2):
        yield f"less memory=: processes hold {format_nbytes(best['memory']['own_nbytes'])}"
