"""Folders of JPEGs, tars, TFRecords and Zarr as they lie: beside the same in Parquet, beside bare reading, and beside what people use."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import containers
from bench.command import Report, arguments
from bench.data import Made, zarr_store
from bench.encoded import hub_parquet
from bench.streams import interval
from streamload.sizes import format_nbytes
from streamload.tools.benchmark.comparison import Comparison, Competitor, CompetitorFailed, NotInstalled, Run, in_turns
from streamload.tools.files.page_cache import make_cold, make_warm

CASES = ("folder", "tar", "cold", "peers", "open")
THREADS, ATTEMPTS = 16, 10
OPEN_AIM, FOLDER_AIM, TAR_AIM, COLD_AIM = 1 / 1.5, 0.9, 0.95, 0.9
PEER_AIMS = {"torchvision": 4.0, "webdataset": 3.0, "tf.data": 2.0, "datasets": 4.0, "zarr": 5.0}


def files_in(folder: Path) -> list[Path]:
    """All files below a folder, or the file itself."""
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else [folder]


def compare(report: Report, comparison: Comparison) -> None:
    """A comparison, and the interval of its ratio."""
    report.compare(comparison)
    low, high = interval(comparison.ratios)
    report.say(f"    95 % interval {low:.2f} to {high:.2f}", low=low, high=high)


Contender = tuple[str, str, dict[str, Any]]
"""Its name, its peer, and its settings."""


def beside(report: Report, options: argparse.Namespace, what: str, ours: dict[str, Any], theirs: Contender, aim: float) -> None:
    """streamload beside a contender, which is left out by name where it is not installed."""
    name, peer, config = theirs
    cache = make_warm([*files_in(Path(ours["path"])), *files_in(Path(config["path"]))])
    try:
        with Competitor(name, peer, config) as contender, Competitor("streamload", "ours", ours) as loader:
            pairs = in_turns(loader.run, contender.run, options.pairs)
    except (NotInstalled, CompetitorFailed) as reason:
        report.say(str(reason))
        return
    compare(report, Comparison(what=what, ours="streamload", theirs=name, pairs=pairs, cache=cache, target=aim))


def emptied(files: list[Path]) -> str:
    """Empty the page cache of files, some of which may be on their way into it as others are let go: their readers soon are done."""
    for _ in range(ATTEMPTS - 1):
        try:
            return make_cold(files)
        except RuntimeError:
            time.sleep(0.2)
    return make_cold(files)


def cold(report: Report, options: argparse.Namespace, what: str, path: Path, theirs: Contender) -> None:
    """Bytes as they are stored, read by streamload and by others, the page cache emptied before each pass."""
    name, peer, config = theirs
    files, states = files_in(path), list[str]()
    ours = {"path": str(path), "batch": options.batch, "workers": options.workers, "settle": 0, "decode": False, "consume": False}

    def a_pass(contender: str, settings: dict[str, Any]) -> Run:
        make_cold(files)
        with Competitor(name, contender, settings) as one:
            states.append(emptied(files))
            done = one.run()
        return Run(seconds=done.seconds, records=1, nbytes=sum(file.stat().st_size for file in files), cpu_seconds=done.cpu_seconds)

    pairs = in_turns(lambda: a_pass("ours", {**ours, "io": "read"}), lambda: a_pass(peer, config), options.cold_pairs)
    compare(report, Comparison(what=what, ours="streamload", theirs=name, pairs=pairs, cache=states[-1], target=COLD_AIM))


def opening(report: Report, options: argparse.Namespace, name: str, path: Path) -> None:
    """To open a folder, anew and again, beside looking at it alone."""
    config = {"path": str(path), "tars": name == "tar"}
    bare = "a scan by 8 threads" if name == "folder" else "8 threads that read heads"
    for how in ("anew", "again"):
        with (
            TemporaryDirectory(prefix="streamload-bench-") as kept,
            Competitor("streamload", "bare_scan", {**config, "how": how}, environment={"STREAMLOAD_CACHE_DIR": kept}) as ours,
            Competitor(bare, "bare_scan", {**config, "how": "bare"}) as theirs,
        ):
            pairs = in_turns(ours.run, theirs.run, options.pairs)
        seconds = sorted(run.seconds for run, _ in pairs)[len(pairs) // 2]
        what = f"open a {name} of {pairs[0][0].records:,} records {how}, {seconds:.2f} s"
        aim = OPEN_AIM if how == "anew" else None
        compare(report, Comparison(what=what, ours="streamload", theirs=bare, pairs=pairs, cache="warm", target=aim))


def beside_peers(report: Report, options: argparse.Namespace, made: Made, folders: dict[str, Path], config: dict[str, Any]) -> None:
    """What people use, on the same files; Zarr on a store of its own."""
    shared = {"batch": options.batch, "workers": options.workers, "record_nbytes": made.record_nbytes, "settle": 1}
    peers = {
        "torchvision": ("torchvision ImageFolder, DataLoader", "torchvision_folder", "folder"),
        "datasets": ("datasets imagefolder, DataLoader", "huggingface_folder", "folder"),
        "webdataset": ("webdataset, WebLoader", "webdataset_jpegs", "tar"),
        "tf.data": ("tf.data, TFRecords parsed and decoded", "tf_jpegs", "tfrecord"),
    }
    for key, (name, peer, kind) in peers.items():
        path = str(folders[kind])
        what = f"warm {kind} of JPEGs, {made.records:,} records of {made.record_nbytes:,} B, Exact"
        beside(report, options, what, {**config, "path": path, "pairs": True}, (name, peer, {**shared, "path": path}), PEER_AIMS[key])
    try:
        store = zarr_store(report.folder, compressor="zstd", chunk_records=64, nbytes=options.nbytes)
    except ImportError as error:
        report.say(f"zarr, DataLoader is left out: {error}")
        return
    ours = {**config, "path": str(store.path), "order": "block", "window": "32 MB", "pairs": True}
    theirs = {**shared, "path": str(store.path), "records": min(store.records, options.zarr_records)}
    what = f"warm Zarr, Blosc zstd, chunks of 64, {store.records:,} records, Block 32 MB"
    beside(report, options, what, ours, ("zarr, DataLoader", "zarr_torch", theirs), PEER_AIMS["zarr"])


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("sources", __doc__ or "")
    parser.add_argument("--side", type=int, default=224, help="height and width of the images (default 224)")
    parser.add_argument("--cold-pairs", type=int, default=5, help="pairs of cold passes (default 5)")
    parser.add_argument("--zarr-records", type=int, default=4_096, help="records that zarr reads one by one (default 4,096)")
    parser.add_argument("--open", type=Path, help="a folder of images to open in place of the one that is made, such as one of a million")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="some of the cases")
    options = parser.parse_args(given)
    report = Report("sources", options)
    made = hub_parquet(report.folder, side=options.side, nbytes=options.nbytes)
    folders = {"folder": containers.folder_of(made), "tar": containers.tars_of(made), "tfrecord": containers.tfrecords_of(made)}
    report.say(f"{made.records:,} JPEGs of {format_nbytes(made.stored_nbytes / made.records)}, {format_nbytes(made.nbytes)} decoded")
    config: dict[str, Any] = {"batch": options.batch, "workers": options.workers}
    parquet = ("streamload, Parquet", "ours", {**config, "path": str(made.path), "pairs": True})
    what = f"of JPEGs {options.side} x {options.side}, {made.records:,} records, Exact"
    archive, each = files_in(folders["tar"])[0], made.stored_nbytes // made.records
    device = {"path": str(archive), "order": "random", "size": each, "depth": 32}
    cases: dict[str, Callable[[], None]] = {
        "folder": lambda: beside(
            report, options, f"warm folder {what}", {**config, "path": str(folders["folder"]), "pairs": True}, parquet, FOLDER_AIM
        ),
        "tar": lambda: beside(
            report, options, f"warm tar {what}", {**config, "path": str(folders["tar"]), "pairs": True}, parquet, TAR_AIM
        ),
        "peers": lambda: beside_peers(report, options, made, folders, config),
    }
    for case in options.only:
        if case in cases:
            cases[case]()
        elif case == "cold":
            bare = (f"{THREADS} bare threads", "bare_files", {"path": str(folders["folder"]), "threads": THREADS})
            cold(report, options, f"cold folder {what}, bytes", folders["folder"], bare)
            cold(report, options, f"cold tar {what}, bytes", archive, (f"device, direct random reads of {each:,} B", "device", device))
        else:
            opening(report, options, "folder", options.open or folders["folder"])
            opening(report, options, "tar", folders["tar"])
    report.end()


if __name__ == "__main__":
    main()
