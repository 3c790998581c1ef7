"""One conversion as a fixed list of tasks that do not depend on each other, and what is done before and after them."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from streamload.tools.children import Children
from streamload.tools.console import meant
from streamload.tools.convert_order import PART_NAMES, arranged, bucket_count
from streamload.tools.manifest import manifest_of
from streamload.tools.origins import Origin, Request, each_by_itself, facts_of, identity_of, origin_of
from streamload.tools.progress import Bar, bar
from streamload.tools.reading import batch_records
from streamload.tools.staging import Staging
from streamload.tools.targets import FORMATS, Style

import streamload
from streamload.errors import ConfigError, ConversionError, SourceChangedError
from streamload.schema import Schema
from streamload.sizes import format_nbytes, parse_nbytes
from streamload.source import Source

SHARD_NBYTES = 1 << 30
"""Files of a folder, where nothing else was asked for."""
SCAN_RECORDS = 4096
MARGIN = 1.02
"""Room for heads, footers and the manifest, in parts of the records' bytes."""
MARGIN_NBYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One file that is to be written."""

    name: str
    part: str
    part_start: int
    """The position at which its part begins."""
    start: int
    stop: int


def shards_of(total_ends: list[int], schema: Schema, style: Style, target: str, shard_nbytes: int | None) -> list[Shard]:
    """The files to be written; without a size, one that is called like the target."""
    if shard_nbytes is None:
        return [Shard(name=os.path.basename(os.path.abspath(target)), part="", part_start=0, start=0, stop=total_ends[-1])]
    records = max(1, shard_nbytes // max(1, schema.record_nbytes))
    shards: list[Shard] = []
    begin = 0
    for part, end in zip(PART_NAMES[len(total_ends)], total_ends, strict=True):
        starts = list(range(begin, end, records)) or [begin]
        for at, start in enumerate(starts):
            name = f"{part or 'data'}-{at:05d}-of-{len(starts):05d}{FORMATS[style.format]}"
            shards.append(Shard(name=name, part=part, part_start=begin, start=start, stop=min(end, start + records)))
        begin = end
    return shards


def shard_nbytes_of(arguments: argparse.Namespace, *, one_file: bool) -> int | None:
    """About how large the files of a folder are to be; None where there is one file."""
    if one_file:
        return None
    return parse_nbytes(arguments.shard_size, name="--shard-size") if arguments.shard_size else SHARD_NBYTES


def free_nbytes(target: str) -> int:
    """Bytes free where the target will stand. Raises ConfigError where there is no such folder."""
    folder = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(folder):
        raise ConfigError(f"{folder} does not exist.", hint="Make the folder first.", path=folder)
    return shutil.disk_usage(folder).free


class Job:
    """One conversion, taken up where an earlier try of the same one ended."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        request: Request,
        style: Style,
        shares: list[float],
        origin: Origin,
        staging: Staging,
        *,
        workers: int,
        one_file: bool,
    ) -> None:
        self._arguments, self._request, self._style, self._shares = arguments, request, style, shares
        self._origin, self._staging, self._workers, self._one_file = origin, staging, workers, one_file
        self.bad: list[tuple[int, str]] = []
        self._asked = {
            "streamload": streamload.__version__,
            "request": request.plain(),
            "identity": identity_of(origin),
            "style": asdict(style),
            "shares": shares,
            "shuffle": [arguments.shuffle, arguments.seed, arguments.stratify],
            "shards": shard_nbytes_of(arguments, one_file=one_file),
            "bad": arguments.on_bad == "raise",
        }
        # Through JSON, as it will be read again.
        self._asked = json.loads(json.dumps(self._asked))
        staging.begin(self._asked)

    def was_moved(self) -> bool:
        """Whether an earlier try came as far as the final name."""
        return self._one_file and self._staging.was_moved(os.path.basename(self._staging.target))

    def run(self) -> dict[str, Any]:
        """Everything, in order; the manifest of what was made."""
        order, ends = self._arranged()
        shards = shards_of(
            ends, self._origin.schema, self._style, self._arguments.target, shard_nbytes_of(self._arguments, one_file=self._one_file)
        )
        entries = {shard.name: self._staging.kept(shard.name) for shard in shards}
        missing = [shard for shard in shards if entries[shard.name] is None]
        if missing:
            self._require_room(missing, ends[-1])
            self._written(missing, order, ends[-1], entries)
        self._require_same()
        files = [entries[shard.name]["entry"] for shard in shards]
        manifest = manifest_of(files, entries[shards[0].name]["schema"], self._provenance())
        if self._arguments.on_bad == "log" and self.bad:
            self._log_bad()
        if self._one_file:
            self._staging.move_file(shards[0].name, manifest)
        else:
            self._staging.move_folder(manifest)
        return manifest

    def _require_same(self) -> None:
        """Raise SourceChangedError where the source is not what it was: each file was written from what stood there at its time."""
        again = origin_of(self._request)
        try:
            same = json.loads(json.dumps(identity_of(again))) == self._asked["identity"]
        finally:
            again.close()
        if not same:
            raise SourceChangedError(
                f"{self._request.path} was changed while it was converted.",
                hint="Leave it alone, and start again: what was written is thrown away.",
                path=self._request.path,
            )

    def _provenance(self) -> dict[str, Any]:
        options = {"shares": self._shares, "shuffle": self._arguments.shuffle, "seed": self._arguments.seed, "left_out": len(self.bad)}
        request = self._request.plain() | {"path": os.path.basename(self._request.path)}
        return {
            "streamload": streamload.__version__,
            "source": facts_of(self._origin),
            "request": request,
            "style": asdict(self._style),
            **options,
        }

    def _tasks(self, title: str, tasks: list[dict[str, Any]], total: int, done: Any) -> None:
        """Do tasks under one bar."""
        seen = 0
        with bar(title, total=total) as shown:

            def saw(count: int) -> None:
                nonlocal seen
                seen += count
                _tell(shown, seen, total, self._origin.schema.record_nbytes)

            Children(saw).run(tasks, self._workers, done)
            _tell(shown, total, total, self._origin.schema.record_nbytes)

    def _threads(self, tasks: int) -> int:
        return max(1, self._workers // max(1, min(self._workers, tasks)))

    def _arranged(self) -> tuple[str | None, list[int]]:
        """The file that says which record stands at each position (None: all as they are), and where parts end."""
        count, arguments = len(self._origin), self._arguments
        if arguments.on_bad != "raise" and not isinstance(self._origin, Source):
            self._scan(count)
        if not (self.bad or arguments.shuffle or len(self._shares) > 1):
            return None, [count]
        kept = np.setdiff1d(np.arange(count, dtype=np.int64), np.array([number for number, _ in self.bad], np.int64), assume_unique=True)
        numbers, ends = arranged(kept, shares=self._shares, shuffle=arguments.shuffle, seed=arguments.seed, strata=self._strata(kept))
        path = self._staging.path("order.npy")
        np.save(path, numbers)
        return path, ends

    def _strata(self, kept: NDArray[np.int64]) -> NDArray[Any] | None:
        name = self._arguments.stratify
        if not name:
            return None
        schema = self._origin.schema
        if name not in schema or schema[name].shape != ():
            raise ConfigError(
                f"--stratify {name}: there is no field of single numbers of that name.",
                hint=meant(name, [field.name for field in schema if field.shape == ()]),
            )
        origin = origin_of(Request(**(self._request.plain() | {"fields": {name: name}}))) if isinstance(self._origin, Source) else None
        reading = origin or self._origin
        batch = batch_records(reading)
        try:
            return np.concatenate([reading.take(kept[at : at + batch])[name] for at in range(0, max(1, len(kept)), batch)])
        finally:
            if origin is not None:
                origin.close()

    def _scan(self, count: int) -> None:
        """Find the records that cannot be read, before anything is written."""
        found = self._staging.kept("bad")
        if found is None:
            base = {"kind": "scan", "request": self._request.plain(), "path": self._staging.target, "nbytes": 0}
            tasks = [base | {"start": at, "stop": min(count, at + SCAN_RECORDS)} for at in range(0, count, SCAN_RECORDS)]
            found = []
            self._tasks("looking", tasks, count, lambda task, answer: found.extend(answer["bad"]))
            found.sort()
            self._staging.keep("bad", found)
        self.bad = [(int(number), str(why)) for number, why in found]

    def _log_bad(self) -> None:
        with open(f"{self._arguments.target}.bad.jsonl", "w") as file:
            for number, why in self.bad:
                file.write(json.dumps({"record": number, "why": why}) + "\n")

    def _scattering(self) -> bool:
        """Whether records must be moved through files, since taking them one by one would decode blocks again and again."""
        return bool(self._arguments.shuffle) and not each_by_itself(self._origin)

    def _require_room(self, missing: list[Shard], total: int) -> None:
        """Raise ConversionError where the disk is too full for what is still to be written."""
        record_nbytes = self._origin.schema.record_nbytes
        needed = int(sum(shard.stop - shard.start for shard in missing) * record_nbytes * MARGIN) + MARGIN_NBYTES
        if self._scattering() and self._staging.kept("scattered") is None:
            needed += total * (record_nbytes + 8)
        free = free_nbytes(self._arguments.target)
        # What compression will save is not known; half is as much as pictures ever give.
        least = needed if self._style.codec == "none" else needed // 2
        if least > free:
            raise ConversionError(
                f"{self._arguments.target} needs about {format_nbytes(least)}; {format_nbytes(free)} are free in {self._staging.parent}.",
                hint="Make room, or choose another folder.",
                errno=errno.ENOSPC,
                needed_nbytes=least,
                available_nbytes=free,
            )

    def _written(self, missing: list[Shard], order: str | None, total: int, entries: dict[str, Any]) -> None:
        """Write the files that are not there yet; each that is finished is kept, whatever becomes of the others."""
        buckets = bucket_count(self._origin.schema.record_nbytes, total)
        base: dict[str, Any] = {"request": self._request.plain(), "order": order, "buckets": buckets, "total": total}
        scattered = self._staging.path("buckets") if self._scattering() else None
        if scattered is not None and self._staging.kept("scattered") is None:
            shutil.rmtree(scattered, ignore_errors=True)
            os.makedirs(scattered)
            nbytes = total * (self._origin.schema.record_nbytes + 8)
            task = base | {"kind": "scatter", "path": scattered, "nbytes": nbytes, "threads": self._workers}
            self._tasks("shuffling", [task], len(self._origin), lambda task, answer: None)
            self._staging.keep("scattered", True)
        threads = self._threads(len(missing))
        tasks = [
            base
            | asdict(shard)
            | {
                "kind": "write",
                "path": os.path.join(self._staging.out, shard.name),
                "style": asdict(self._style),
                "nbytes": (shard.stop - shard.start) * self._origin.schema.record_nbytes,
                "threads": threads,
                "scattered": scattered,
            }
            for shard in missing
        ]

        def done(task: dict[str, Any], answer: dict[str, Any]) -> None:
            entries[task["name"]] = answer
            self._staging.keep(task["name"], answer)

        try:
            self._tasks("writing", tasks, sum(shard.stop - shard.start for shard in missing), done)
        except BaseException:
            for shard in missing:
                path = os.path.join(self._staging.out, shard.name)
                if entries[shard.name] is None and os.path.lexists(path):
                    os.unlink(path)
            raise


def _tell(shown: Bar, seen: int, total: int, record_nbytes: int) -> None:
    shown.show(min(seen, total), f"{min(seen, total):,} records, {format_nbytes(min(seen, total) * record_nbytes)}")
