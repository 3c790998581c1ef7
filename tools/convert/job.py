"""One conversion as a fixed list of tasks that do not depend on each other, and what is done before and after them."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

import streamload
from streamload.conditions import Condition
from streamload.errors import ConversionError, SourceChangedError, SourceError
from streamload.schema import TEXT
from streamload.sizes import format_nbytes
from streamload.tools.console import counted
from streamload.tools.convert.accounting import Account
from streamload.tools.convert.as_converted import MOST_NUMBERS
from streamload.tools.convert.chosen_records import ChosenRecords
from streamload.tools.convert.executors import TaskExecutor
from streamload.tools.convert.existing_target import LOG, require_replaceable
from streamload.tools.convert.image_sizes import require_alike
from streamload.tools.convert.manifest import manifest_of
from streamload.tools.convert.needed_disk import moved_nbytes, needed_nbytes, require_free
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.label_fields import SmallFields, filed, stretches
from streamload.tools.convert.readers.open import open_records
from streamload.tools.convert.record_source import RecordSource
from streamload.tools.convert.shards import Shard, shard_nbytes_of, shards_of
from streamload.tools.convert.shuffle import WrittenOrder, WrittenOrderIndex, bucket_count
from streamload.tools.convert.split import arranged
from streamload.tools.convert.staging import Staging
from streamload.tools.convert.writers.registry import WriteOptions
from streamload.tools.convert.writers.text_limits import unheld_at
from streamload.tools.progress import Bar, bar

SCAN_RECORDS = 4096
"""Records of a task that writes nothing."""


class Conversion:
    """One conversion, taken up where an earlier try of the same one ended: `prepare`, `write` some or all tasks, `finish`."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        request: OpenRequest,
        style: WriteOptions,
        shares: list[float],
        origin: RecordSource,
        staging: Staging,
        *,
        engine: TaskExecutor,
        one_file: bool,
        account: Account,
    ) -> None:
        self._arguments, self._request, self._style, self._shares = arguments, request, style, shares
        self._origin, self._staging, self._engine, self._one_file = origin, staging, engine, one_file
        self._account = account
        self._condition = Condition(arguments.where, said="--where") if arguments.where else None
        self.bad: list[tuple[int, str]] = []
        self.order = WrittenOrder(ends=(0,), shuffle="no", seed=0)
        self._asked = {
            "streamload": streamload.__version__,
            "request": request.plain(),
            "identity": origin.identity,
            "style": asdict(style),
            "shares": shares,
            "order": [arguments.shuffle, arguments.seed, arguments.stratify, arguments.group, arguments.where],
            "shards": shard_nbytes_of(arguments, one_file=one_file),
            "bad": arguments.on_bad == "raise",
        }
        # Through JSON, as it will be read again.
        self._asked = json.loads(json.dumps(self._asked))
        self.aside: str | None = None
        """What was put into a folder that was replaced, while it was."""
        if not staging.was_moved():
            self._require_target()
        staging.begin(self._asked)
        if not staging.was_moved():
            self._require_target()

    def was_moved(self) -> bool:
        """Whether an earlier try came as far as the final name."""
        return self._staging.was_moved()

    def _require_target(self) -> None:
        arguments = self._arguments
        require_replaceable(arguments.target, one_file=self._one_file, overwrite=arguments.overwrite, logs=arguments.on_bad == "log")

    @property
    def needs_preparing(self) -> bool:
        """Whether anything must be found out or moved before the first file can be written."""
        arguments = self._arguments
        in_parts = len(self._shares) > 1 and not (arguments.shuffle and not arguments.stratify and not arguments.group)
        return self._scanning() or self._condition is not None or in_parts or self._scattering()

    def look(self) -> None:
        """Raise where images that are written are not alike, or texts have no place in their files: before any is. Known once prepared."""
        if self._scanning() or self._finished_count():
            return
        with self._keeping_what_is_finished():
            self._look_at_texts()
            if self._request.size is None and self._style.store != "keep":
                self._look_at_images()

    def _finished_count(self) -> int:
        return sum(self._staging.kept(shard.name) is not None for shard in self.shards())

    @contextmanager
    def _keeping_what_is_finished(self) -> Iterator[None]:
        """Keep nothing where the source is refused before any file is finished: the same command would be again."""
        try:
            yield
        except SourceError:
            if not self._finished_count():
                self._staging.refuse()
            raise

    def _look_at_images(self) -> None:
        """Raise SchemaMismatchError where images that are to be written differ in size."""
        if self._condition is None:
            require_alike(self._origin)
        else:
            require_alike(ChosenRecords(self._origin, np.sort(WrittenOrderIndex(self.order).at(0, len(self.order)))))

    def _look_at_texts(self) -> None:
        """Raise UnsupportedFeatureError for the first text that is to be written and that its file could not hold."""
        if not any(field.ragged == TEXT for field in self._origin.schema):
            return
        found: list[tuple[int, str]] = []
        tasks = self._over_all({"kind": "texts", "order": self.order.plain()})
        self._tasks("looking at texts", tasks, len(self._origin), lambda task, answer: found.extend(map(tuple, answer["unheld"])))
        if found:
            raise unheld_at(self._origin, min(found), self._style.format)

    def prepare(self) -> None:
        """Find out which records are written and in what order; what an earlier try found out is taken as it is."""
        known = self._staging.kept("prepared")
        if known is None:
            if self._scanning():
                self._scan()
            order = self._arranged()
            self._require_some(len(order))
            known = {"order": order.plain(), "bad": self.bad}
            if self._scattering():
                self._scatter(order)
            if self.needs_preparing:
                self._staging.keep("prepared", known)
        self.order = WrittenOrder.of(known["order"])
        self.bad = [(int(number), str(why)) for number, why in known["bad"]]

    def _require_some(self, count: int) -> None:
        """Raise ConversionError where nothing of what there is would be written."""
        records = len(self._origin)
        if count or not records:
            return
        if len(self.bad) == records:
            number, why = self.bad[0]
            raise ConversionError(
                f"None of the {records:,} records can be read: nothing was written. Record {number:,}: {why}",
                hint="Choose --fields that records have, or look at the files.",
            )
        raise ConversionError(
            f"--where {self._arguments.where!r} holds for none of the {records:,} records: nothing was written.",
            hint=f"`streamload info {shlex.quote(self._arguments.source)}` shows what values its fields have.",
        )

    def is_prepared(self) -> bool:
        """Whether `prepare` has nothing left to do."""
        return not self.needs_preparing or self._staging.kept("prepared") is not None

    def shards(self) -> list[Shard]:
        """The files to be written, each of them a task; known once it is prepared."""
        size = shard_nbytes_of(self._arguments, one_file=self._one_file)
        return shards_of(self.order.ends, self._origin, self._style, self._arguments.target, size)

    def write(self, shards: Sequence[Shard]) -> int:
        """Write those of these files that are not there yet; how many were."""
        missing = [shard for shard in shards if self._staging.kept(shard.name) is None]
        if missing:
            require_free(self._arguments.target, needed_nbytes(self._origin, self._style, sum(one.stop - one.start for one in missing)))
            with self._keeping_what_is_finished():
                self._written(missing)
        return len(missing)

    def standing(self) -> str:
        """How far it has come, for somebody who ends it."""
        if self._staging.done:
            return f"{self._arguments.target} is whole; nothing is left to do."
        if self.was_moved():
            return f"{self._arguments.target} is written; the same command brings it to an end."
        finished = self.finished()
        if finished:
            return finished
        again = "the same command begins again" + ("" if self._one_file else "; files that are finished would be kept")
        return f"Nothing was written under {self._arguments.target}; {again}."

    def finished(self) -> str:
        """What an earlier try, or this one, has finished; "" for nothing."""
        done = self._finished_count() if len(self.order) and not self._staging.done else 0
        return f"{done:,} of {counted(len(self.shards()), 'file')} are finished; the same command goes on with the others." if done else ""

    def finish(self) -> dict[str, Any]:
        """Give all files their final names; the manifest of what was made. Raises ConversionError where some are not written."""
        shards = self.shards()
        entries = [self._staging.kept(shard.name) for shard in shards]
        lacking = [number for number, entry in enumerate(entries, start=1) if entry is None]
        if lacking:
            listed = ", ".join(map(str, lacking[:10])) + (", ..." if len(lacking) > 10 else "")
            raise ConversionError(
                f"{len(lacking):,} of the {len(shards):,} files of {self._arguments.target} are not written yet: {listed}.",
                hint="Run the tasks that are missing, then --merge again; or leave both out, and all is done here.",
            )
        self._require_same()
        manifest = manifest_of([entry["entry"] for entry in entries], entries[0]["schema"], self._provenance())
        overwrite = self._arguments.overwrite
        if not self.was_moved():
            self._require_target()
        if self._arguments.on_bad == "log" and self.bad:
            self._staging.write_beside(LOG, "".join(json.dumps({"record": number, "why": why}) + "\n" for number, why in self.bad))
        if self._one_file:
            self._staging.move_file(shards[0].name, manifest, overwrite=overwrite)
        else:
            self.aside = self._staging.move_folder(manifest, overwrite=overwrite)
        return manifest

    def _require_same(self) -> None:
        """Raise SourceChangedError where the source is not what it was: each file was written from what stood there at its time."""
        again = open_records(self._request)
        try:
            same = json.loads(json.dumps(again.identity)) == self._asked["identity"]
        finally:
            again.close()
        if not same:
            raise SourceChangedError(
                f"{self._request.path} was changed while it was converted.",
                hint="Leave it alone, and start again: what was written was thrown away.",
                path=self._request.path,
            )

    def _provenance(self) -> dict[str, Any]:
        arguments = self._arguments
        options = {"shares": self._shares, "shuffle": arguments.shuffle, "seed": arguments.seed, "left_out": len(self.bad)}
        if 0 < len(self.bad) <= MOST_NUMBERS:
            options["left_out_records"] = [number for number, _ in self.bad]
        given = {"where": arguments.where, "stratify": arguments.stratify, "group": arguments.group}
        request = self._request.plain() | {"path": os.path.basename(self._request.path)}
        return {
            "streamload": streamload.__version__,
            "source": self._origin.facts,
            "request": request,
            "style": asdict(self._style),
            "account": self._account.plain(),
            **options,
            **{name: value for name, value in given.items() if value},
        }

    def _tasks(self, title: str, tasks: list[dict[str, Any]], total: int, done: Any) -> None:
        """Do tasks under one bar."""
        seen = 0
        with bar(title, total=total) as shown:

            def saw(count: int) -> None:
                nonlocal seen
                seen += count
                _tell(shown, seen, total, self._origin.record_nbytes)

            self._engine.run(tasks, done, saw)
            _tell(shown, total, total, self._origin.record_nbytes)

    def _scanning(self) -> bool:
        """Whether records that cannot be read are to be found beforehand."""
        return self._arguments.on_bad != "raise"

    def _scan(self) -> None:
        """Find the records that cannot be read, before anything is written."""
        found: list[Any] = []
        self._tasks("looking", self._over_all({"kind": "scan"}), len(self._origin), lambda task, answer: found.extend(answer["bad"]))
        self.bad = sorted((int(number), str(why)) for number, why in found)

    def _over_all(self, more: dict[str, Any]) -> list[dict[str, Any]]:
        """A task for each stretch of all records, which writes nothing."""
        base = self._base() | {"path": self._staging.target, "nbytes": 0, "style": asdict(self._style)} | more
        count = len(self._origin)
        return [base | {"start": at, "stop": min(count, at + SCAN_RECORDS)} for at in range(0, count, SCAN_RECORDS)]

    def _base(self) -> dict[str, Any]:
        """What every task says."""
        staging = {"folder": self._staging.folder, "inode": self._staging.inode}
        return {"streamload": streamload.__version__, "request": self._request.plain(), "staging": staging}

    def _arranged(self) -> WrittenOrder:
        """Which records are written, in what order, and where parts end."""
        arguments, condition = self._arguments, self._condition
        left_out = np.array([number for number, _ in self.bad], np.int64)
        asked = dict.fromkeys(condition.names, "--where") if condition is not None else {}
        small = SmallFields(self._origin, self._request, asked)
        kept: str | None = None
        count = len(self._origin) - len(left_out)
        try:
            if condition is not None or len(left_out):
                kept = self._staging.path("kept.i64")
                count = 0
                with self._staging.create("kept.i64") as file:
                    for numbers, taken in small.passes(stretches(len(self._origin), left_out)):
                        chosen = numbers[condition.holds(taken, small.classes)] if condition is not None and len(numbers) else numbers
                        file.write(chosen.tobytes())
                        count += len(chosen)
                    _lasting(file)
        finally:
            small.close()
        asked = {name: argument for name, argument in ((arguments.stratify, "--stratify"), (arguments.group, "--group")) if name}
        small = SmallFields(self._origin, self._request, asked)

        def batches() -> Iterator[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]:
            return small.passes(filed(kept) if kept is not None else stretches(len(self._origin), left_out))

        try:
            return arranged(
                count,
                batches,
                path=self._staging.path("order.i64"),
                kept=kept,
                shares=self._shares,
                shuffle=arguments.shuffle,
                seed=arguments.seed,
                label=arguments.stratify,
                group=arguments.group,
            )
        finally:
            small.close()

    def _bucket_count(self, total: int) -> int:
        return bucket_count(self._origin.record_nbytes, total, ragged=len(self._origin.schema.ragged))

    def _scattering(self) -> bool:
        """Whether records must be moved through files, since taking them one by one would decode blocks again and again."""
        return bool(self._arguments.shuffle) and not self._origin.addressable

    def _scatter(self, order: WrittenOrder) -> None:
        """Move all records into files of neighbouring positions."""
        self._staging.renew_folder("buckets")
        nbytes = moved_nbytes(self._origin, len(order))
        require_free(self._arguments.target, nbytes + needed_nbytes(self._origin, self._style, len(order)))
        task = self._base() | {"kind": "scatter", "path": self._staging.path("buckets"), "nbytes": nbytes, "threads": self._engine.workers}
        task |= {"order": order.plain(), "total": len(order), "buckets": self._bucket_count(len(order))}
        self._tasks("shuffling", [task], len(self._origin), lambda task, answer: None)

    def _written(self, missing: list[Shard]) -> None:
        """Write files; each that is finished is kept, whatever becomes of the others."""
        total = len(self.order)
        threads = max(1, self._engine.workers // max(1, min(self._engine.workers, len(missing))))
        base = self._base() | {"order": self.order.plain(), "total": total, "threads": threads, "scattered": self._scattering()}
        base |= {"kind": "write", "style": asdict(self._style), "buckets": self._bucket_count(total)}
        tasks = [
            base
            | asdict(shard)
            | {
                "path": os.path.join(self._staging.out, shard.name),
                "nbytes": (shard.stop - shard.start) * self._origin.record_nbytes,
            }
            for shard in missing
        ]

        def done(task: dict[str, Any], answer: dict[str, Any]) -> None:
            self._staging.keep(task["name"], answer)

        self._tasks("writing", tasks, sum(shard.stop - shard.start for shard in missing), done)


def _lasting(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _tell(shown: Bar, seen: int, total: int, record_nbytes: int) -> None:
    shown.show(min(seen, total), f"{counted(min(seen, total), 'record')}, {format_nbytes(min(seen, total) * record_nbytes)}")
