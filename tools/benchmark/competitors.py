"""Other loaders on the user's own records: each in a process of its own, in turns with streamload, the same consumer for all."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamload.errors import ConfigError, UnsupportedFeatureError
from streamload.schema import Field
from streamload.sizes import format_decimal, format_rate
from streamload.source import Source
from streamload.storage.owned_files import cache_folder, finished_file, temporary_folder
from streamload.tools.benchmark.comparison import Comparison, Competitor, CompetitorFailed, NotInstalled, in_turns
from streamload.tools.console import meant

PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "PyTorch, memmap, (image, int) pairs": ("torch_memmap", {"variant": "pairs"}),
    "PyTorch, memmap, __getitems__": ("torch_memmap", {"variant": "whole"}),
    "PyTorch, h5py, a read a record": ("torch_h5py", {"variant": "pairs"}),
    "PyTorch, h5py, a sorted read a batch": ("torch_h5py", {"variant": "whole"}),
    "FFCV, beton": ("ffcv_beton", {}),
    "Grain, memmap": ("grain_memmap", {}),
    "SPDL, memmap": ("spdl_memmap", {}),
    "Hugging Face datasets, Arrow": ("huggingface", {}),
    "WebDataset, tar": ("webdataset_tar", {}),
    "litdata, chunks": ("litdata_chunks", {}),
    "MosaicML streaming, MDS": ("mosaicml", {}),
    "tf.data, TFRecord": ("tf_data", {}),
}
"""Their names, the module of `peers` that runs each, and what it is told beside the case."""

COPY = "streamload, the decoded copy"
"""The line of streamload over what contenders read that cannot decode the user's files."""
MOST_NBYTES = 256 << 20
"""Contenders read so much of the data at most: its first records. Streamload then reads the same."""
SLOW = ("torch_h5py",)
SLOW_RECORDS = 5_000
"""A pass of contenders that read record by record through h5py."""
PAIRS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class CopiedRecords:
    """Records in a plain file, for contenders that cannot read the user's."""

    path: Path
    records: int
    record_nbytes: int
    image: str
    """The field that stands for an image: the largest."""
    label: str | None
    written_seconds: float
    """How long the copy took; 0 where it was there already."""


def chosen_peers(asked: str) -> list[str]:
    """The names of contenders that `--contenders` asks for: all, or those of some modules or names, with commas between them."""
    if asked == "all":
        return list(PEERS)
    found: list[str] = []
    for word in (word.strip() for word in asked.split(",")):
        mine = [name for name, (peer, _) in PEERS.items() if word.lower() in (peer, name.lower(), name.split(",")[0].lower())]
        if not mine:
            raise ConfigError(
                f"--contenders {word} is not known.", hint=meant(word, ["all", *dict.fromkeys(peer for peer, _ in PEERS.values())])
            )
        found += [name for name in mine if name not in found]
    return found


@contextmanager
def copies_folder() -> Generator[Path]:
    """Where copies and other formats lie while loaders are compared: in the folder of what is kept, and gone afterwards."""
    kept = cache_folder("bench")
    if kept is not None:
        kept.close()
    with temporary_folder("bench-", None if kept is None else kept.path) as made:
        yield Path(made)


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder and below it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fixed_fields(data: Source) -> list[Field]:
    """The fields that contenders can read. Raises UnsupportedFeatureError where there are none."""
    fixed = [field for field in data.schema.fields if not field.ragged and field.nbytes > 0]
    if not fixed:
        raise UnsupportedFeatureError(
            f"{data.title} has no field of a fixed size, and contenders here read nothing else.", hint="Leave --contenders out."
        )
    return fixed


def copied(data: Source, folder: Path, *, most_nbytes: int = MOST_NBYTES) -> CopiedRecords:
    """The first records of a source as bytes in a contiguous HDF5 file, with whole numbers for labels. Kept from run to run.

    Raises UnsupportedFeatureError where the records have no field of a fixed size.
    """
    fixed = fixed_fields(data)
    image = max(fixed, key=lambda field: field.nbytes)
    labels = [field for field in fixed if field.shape == () and field.dtype.kind in "iu" and field is not image]
    label = labels[0].name if labels else None
    records = max(1, min(len(data), most_nbytes // image.nbytes))
    was = [(one.path, one.nbytes, one.mtime_ns) for one in data.fingerprints]
    digest = hashlib.blake2b(repr((was, image.name, label, records)).encode(), digest_size=6).hexdigest()
    path = folder / f"copy-{image.nbytes}-{records}-{digest}.h5"
    began = time.perf_counter()
    if not path.exists():
        _write_copy(data, path, image, label, records)
    return CopiedRecords(
        path=path,
        records=records,
        record_nbytes=image.nbytes,
        image=image.name,
        label=label,
        written_seconds=time.perf_counter() - began,
    )


def _write_copy(data: Source, path: Path, image: Field, label: str | None, records: int) -> None:
    """Images as the bytes that they are, of shape (records, *image.shape) where they are bytes; zeros where there is no label."""
    import h5py

    shape = image.shape if image.dtype == np.uint8 and image.shape else (image.nbytes,)
    with finished_file(path) as partial, h5py.File(partial, "x") as file:
        images = file.create_dataset("image", (records, *shape), np.uint8)
        numbers = file.create_dataset("label", (records,), np.int64)
        step = max(1, (16 << 20) // image.nbytes)
        for start in range(0, records, step):
            taken = data.take(np.arange(start, min(start + step, records)))
            whole = np.ascontiguousarray(taken[image.name])
            count = len(whole)
            images[start : start + count] = whole.reshape(count, -1).view(np.uint8).reshape(count, *shape)
            if label is not None:
                numbers[start : start + count] = taken[label]


def hdf5_names(data: Source, made: CopiedRecords, stored: dict[str, str]) -> dict[str, str] | None:
    """The datasets of the user's one HDF5 file that hold images and labels; None where there is no such file."""
    import h5py

    if not h5py.is_hdf5(data.fingerprints[0].path) or len(data.fingerprints) > 1:
        return None
    names = {"image": stored.get(made.image, made.image)}
    if made.label is not None:
        names["label"] = stored.get(made.label, made.label)
    with h5py.File(data.fingerprints[0].path) as file:
        there = all(name in file and isinstance(file[name], h5py.Dataset) for name in names.values())
        return names if there and file[names["image"]].shape[:1] == (len(data),) else None


def compared(
    data: Source,
    names: Sequence[str],
    *,
    ours: dict[str, Any],
    stored: dict[str, str],
    folder: Path,
    limit: dict[str, Any],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Every contender beside streamload and a limit, warm; `ours` is the configuration of a pass, `say` hears of each as it is done.

    Where records must be decoded, contenders that read a copy with nothing left to decode run beside streamload over that copy, which
    is a line of its own.
    """
    made = copied(data, folder)
    config = {"batch": ours["batch"], "workers": ours["workers"]}
    theirs = {**config, "path": str(made.path), "folder": str(folder), "settle": 1}
    hdf5 = hdf5_names(data, made, stored)
    mine = config | own_config(ours, made, stored)
    copy = {"path": str(made.path), "names": {"image": "image"} | ({"label": "label"} if made.label else {})}
    copy |= {"called": {}, "options": {}, "fill": {}, "decode": None}
    kind, whole = "plain" if data.addressable else "decoded", sum(was.nbytes for was in data.fingerprints)
    reads = {True: f"your files, {format_decimal(whole)}", False: f"a {kind} copy, {format_decimal(made.path.stat().st_size)}"}
    found: list[dict[str, Any]] = []
    with ExitStack() as held:
        loader = held.enter_context(Competitor("streamload", "ours", mine))
        over_copy = loader
        if not data.addressable:
            over_copy = held.enter_context(Competitor(COPY, "ours", mine | copy))
            found.append(_measured(COPY, loader, over_copy, limit, reads[False]))
            say(found[-1]["text"])
        for name in names:
            peer, more = PEERS[name]
            asked = {**theirs, **more}
            if peer in SLOW:
                if hdf5 is None:
                    found.append({"name": name, "missing": f"{name} is left out: the data is not one HDF5 file"})
                    say(found[-1]["missing"])
                    continue
                asked |= {"path": data.fingerprints[0].path, "names": hdf5, "records": min(made.records, SLOW_RECORDS), "settle": 0}
            own = peer in SLOW
            found.append(_against(name, peer, asked, loader if own else over_copy, limit, reads[own]))
            say(found[-1].get("missing") or found[-1]["text"])
    return found


def own_config(ours: dict[str, Any], made: CopiedRecords, stored: dict[str, str]) -> dict[str, Any]:
    """What streamload is told, beside whom contenders run: the user's own files, opened as the user opens them, and of them only the
    fields and records that were copied."""
    called = {"image": made.image} | ({"label": made.label} if made.label else {})
    options = {
        name: {field: value for field, value in told.items() if field in called.values()} if isinstance(told, dict) else told
        for name, told in (ours.get("options") or {}).items()
    }
    return {
        "path": ours["paths"][0] if len(ours["paths"]) == 1 else ours["paths"],
        "names": {name: stored.get(field, field) for name, field in called.items()},
        "called": called,
        "options": options,
        "fill": {field: text for field, text in (ours.get("fill") or {}).items() if field in called.values()},
        "decode": ours.get("decode"),
        "pairs": True,
        "records": made.records,
        "settle": 2,
        "order": ours["order"],
        **{key: ours[key] for key in ("memory", "io") if ours.get(key)},
        **({"window": ours["window"]} if ours.get("window") and ours["order"] == "block" else {}),
    }


def _against(name: str, peer: str, config: dict[str, Any], loader: Competitor, limit: dict[str, Any], reads: str) -> dict[str, Any]:
    try:
        with Competitor(name, peer, config) as contender:
            return _measured(name, loader, contender, limit, reads)
    except (NotInstalled, CompetitorFailed) as reason:
        return {"name": name, "missing": str(reason)}


def _measured(name: str, loader: Competitor, contender: Competitor, limit: dict[str, Any], reads: str) -> dict[str, Any]:
    """Figures of passes in turns: medians of both, and of the ratios."""
    pairs, about = in_turns(loader.run, contender.run, PAIRS), contender.about
    race = Comparison(what="the user's records", ours="streamload", theirs=name, pairs=pairs, cache="warm")
    written = {key: about[key] for key in ("written_seconds", "written_nbytes") if key in about}
    byte_rate = statistics.median(run.byte_rate for _, run in pairs)
    found = {
        "name": name,
        "ratio": race.ratio,
        "rate": statistics.median(run.rate for _, run in pairs),
        "byte_rate": byte_rate,
        "limit": limit["name"],
        "limit_ratio": byte_rate / limit["byte_rate"],
        "our_rate": statistics.median(run.rate for run, _ in pairs),
        "order": about.get("order", "full shuffle"),
        "reads": reads,
        **written,
    }
    return found | {"text": told(found)}


def _over(found: dict[str, Any]) -> str:
    """What streamload read beside a contender."""
    return "over that copy" if found["reads"].startswith("a decoded") and found["name"] != COPY else "over your files"


def told(found: dict[str, Any]) -> str:
    """A contender in a line: its rates, its limit, streamload beside it, its order, and what its own format took to write and takes."""
    text = (
        f"{found['name']}: {found['rate']:,.0f} records/s, {format_rate(found['byte_rate'])}, {100 * found['limit_ratio']:.1f} % of "
        f"{found['limit']}; streamload {_over(found)} is {found['ratio']:.2f} times as fast; "
        f"it reads {found['reads']}; its order: {found['order']}"
    )
    if "written_seconds" not in found:
        return text
    return f"{text}; its own format: {format_decimal(found['written_nbytes'])}, written in {found['written_seconds']:.1f} s"
