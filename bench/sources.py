"""Folders of JPEGs, tars, TFRecords and Zarr as they lie, a row at a time: beside the same in Parquet, bare reading, and what people use.

Each row takes less than half a minute once its files are made: `python -m bench.sources folder cold-folder torchvision`; all of
them without a name. What is not installed is left out by name.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import containers
from bench.command import Report, arguments
from bench.data import zarr_store
from bench.encoded import hub_parquet
from bench.streams import interval
from streamload.sizes import format_nbytes, parse_nbytes
from streamload.tools.benchmark.comparison import Comparison, Competitor, CompetitorFailed, NotInstalled, Run, in_turns
from streamload.tools.files.page_cache import make_cold, make_warm

THREADS, ATTEMPTS = 16, 10
OPEN_AIM, FOLDER_AIM, TAR_AIM, COLD_AIM = 1 / 1.5, 0.9, 0.95, 0.9
ZARR_AIM, ZARR_TORCH_AIM = 0.75, 5.0
WINDOW, CHUNK_RECORDS = "32 MB", 64
PEERS: dict[str, tuple[str, str, str, float]] = {
    "torchvision": ("torchvision ImageFolder, DataLoader", "torchvision_folder", "folder", 4.0),
    "datasets": ("datasets imagefolder, DataLoader", "huggingface_folder", "folder", 4.0),
    "webdataset": ("webdataset, WebLoader", "webdataset_jpegs", "tar", 3.0),
    "tf.data": ("tf.data, TFRecords parsed and decoded", "tf_jpegs", "tfrecord", 2.0),
}
"""By row: its name, its peer, what it reads, and the ratio that is aimed for."""
Contender = tuple[str, str, dict[str, Any]]
"""Its name, its peer, and its settings."""


def files_in(folder: Path) -> list[Path]:
    """All files below a folder, or the file itself."""
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else [folder]


def compare(report: Report, comparison: Comparison) -> None:
    """A comparison, and the interval of its ratio."""
    report.compare(comparison)
    low, high = interval(comparison.ratios)
    report.say(f"    95 % interval {low:.2f} to {high:.2f}", low=low, high=high)


def beside(report: Report, options: argparse.Namespace, what: str, ours: dict[str, Any], theirs: Contender, aim: float) -> None:
    """streamload beside a contender, which is left out by name where it is not installed."""
    name, peer, config = theirs
    cache = make_warm([*files_in(Path(ours["path"])), *files_in(Path(config["path"]))])
    ours = {"batch": options.batch, "workers": options.workers, **ours}
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
        with Competitor(name, contender, settings) as one:
            states.append(emptied(files))
            done = one.run()
        return Run(seconds=done.seconds, records=1, nbytes=sum(file.stat().st_size for file in files), cpu_seconds=done.cpu_seconds)

    pairs = in_turns(lambda: a_pass("ours", {**ours, "io": "read"}), lambda: a_pass(peer, config), options.pairs)
    compare(report, Comparison(what=what, ours="streamload", theirs=name, pairs=pairs, cache=states[-1], target=COLD_AIM))


class Rows:
    """The rows, by name; their files are made when the first of them asks."""

    def __init__(self, report: Report, options: argparse.Namespace) -> None:
        self._report = report
        self._options = options
        self.by_name: dict[str, Callable[[], None]] = {
            "folder": lambda: self._beside_parquet("folder", FOLDER_AIM),
            "tar": lambda: self._beside_parquet("tar", TAR_AIM),
            "cold-folder": self._cold_folder,
            "cold-tar": self._cold_tar,
            **{name: lambda name=name: self._beside_peer(name) for name in PEERS},
            "zarr": self._zarr_beside_zarr,
            "zarr-bare": self._zarr_beside_decoders,
            "open-folder": lambda: self._opening("folder"),
            "open-tar": lambda: self._opening("tar"),
        }

    def _jpegs(self, kind: str) -> tuple[Path, str]:
        """The JPEGs as Parquet, folder, tar or TFRecord, and what is to be said of them."""
        made = hub_parquet(self._report.folder, side=self._options.side, nbytes=self._options.nbytes)
        said = f"{made.records:,} JPEGs {self._options.side} x {self._options.side} of {format_nbytes(made.stored_nbytes // made.records)}"
        makers = {"folder": containers.folder_of, "tar": containers.tars_of, "tfrecord": containers.tfrecords_of}
        return makers[kind](made) if kind in makers else made.path, said

    def _beside_parquet(self, kind: str, aim: float) -> None:
        """The same JPEGs in Parquet, read as such a file is read best: by blocks."""
        (path, said), (parquet, _) = self._jpegs(kind), self._jpegs("parquet")
        config = {"path": str(parquet), "batch": self._options.batch, "workers": self._options.workers, "pairs": True}
        theirs = (f"streamload, Parquet, Block {WINDOW}", "ours", {**config, "order": "block", "window": WINDOW})
        beside(self._report, self._options, f"warm {kind}, {said}, Exact", {"path": str(path), "pairs": True}, theirs, aim)

    def _beside_peer(self, row: str) -> None:
        name, peer, kind, aim = PEERS[row]
        path, said = self._jpegs(kind)
        shared = {"batch": self._options.batch, "workers": self._options.workers, "record_nbytes": self._options.side**2 * 3, "settle": 1}
        theirs = (name, peer, {**shared, "path": str(path)})
        beside(self._report, self._options, f"warm {kind}, {said}, Exact", {"path": str(path), "pairs": True}, theirs, aim)

    def _cold_folder(self) -> None:
        folder, _ = containers.stored_photographs(self._report.folder, nbytes=self._options.cold_nbytes)
        theirs = (f"{THREADS} bare threads", "bare_files", {"path": str(folder), "threads": THREADS})
        cold(self._report, self._options, f"cold folder of {len(files_in(folder)):,} files, bytes, Exact", folder, theirs)

    def _cold_tar(self) -> None:
        folder, archive = containers.stored_photographs(self._report.folder, nbytes=self._options.cold_nbytes)
        files = len(files_in(folder))
        each = archive.stat().st_size // files // 512 * 512
        theirs = (
            f"device, direct random reads of {each:,} B",
            "device",
            {"path": str(archive), "order": "random", "size": each, "depth": 32},
        )
        cold(self._report, self._options, f"cold tar of {files:,} files, bytes, Exact", archive, theirs)

    def _zarr(self) -> tuple[Path, int, dict[str, Any]]:
        """A store, its records, and how it is read."""
        made = zarr_store(self._report.folder, compressor="zstd", chunk_records=CHUNK_RECORDS, nbytes=self._options.nbytes)
        return made.path, made.records, {"path": str(made.path), "order": "block", "window": WINDOW}

    def _zarr_beside_zarr(self) -> None:
        path, records, ours = self._zarr()
        asked = min(records, self._options.zarr_records)
        theirs = {"path": str(path), "batch": self._options.batch, "workers": self._options.workers, "records": asked, "settle": 1}
        what = f"warm Zarr, Blosc zstd, chunks of {CHUNK_RECORDS}, {records:,} records, Block {WINDOW}"
        beside(self._report, self._options, what, {**ours, "pairs": True}, ("zarr, DataLoader", "zarr_torch", theirs), ZARR_TORCH_AIM)

    def _zarr_beside_decoders(self) -> None:
        """With the consumer of all rows, which copies every batch, and without: decoders do nothing with what comes out."""
        path, records, ours = self._zarr()
        theirs = {"path": str(path), "workers": self._options.workers, "codec": "blosc", "decoder": "blosc"}
        what = f"warm Zarr, Blosc zstd, chunks of {CHUNK_RECORDS}, {records:,} records, Block {WINDOW}"
        decoders = f"{self._options.workers} bare decoders", "decoders", theirs
        beside(self._report, self._options, what, ours, decoders, ZARR_AIM)
        beside(self._report, self._options, f"{what}, batches not copied", {**ours, "consume": False}, decoders, ZARR_AIM)

    def _opening(self, kind: str) -> None:
        """To open a folder or the tars in it, anew and again, beside looking at it alone."""
        if kind == "folder":
            path = containers.many_files(self._report.folder, count=self._options.open_files)
        else:
            path = containers.sparse_tars(self._report.folder, nbytes=self._options.open_nbytes)
        config = {"path": str(path), "tars": kind == "tar"}
        bare = "a scan by 8 threads" if kind == "folder" else "8 threads that read heads"
        for how in ("anew", "again"):
            with (
                TemporaryDirectory(prefix="streamload-bench-") as kept,
                Competitor("streamload", "bare_scan", {**config, "how": how}, environment={"STREAMLOAD_CACHE_DIR": kept}) as ours,
                Competitor(bare, "bare_scan", {**config, "how": "bare"}) as theirs,
            ):
                pairs = in_turns(ours.run, theirs.run, self._options.pairs)
            seconds = sorted(run.seconds for run, _ in pairs)[len(pairs) // 2]
            what = f"open a {kind} of {pairs[0][0].records:,} records {how}, {seconds:.2f} s"
            aim = OPEN_AIM if how == "anew" else None
            compare(self._report, Comparison(what=what, ours="streamload", theirs=bare, pairs=pairs, cache="warm", target=aim))


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("sources", __doc__ or "", nbytes="500MB", pairs=5)
    parser.add_argument("--side", type=int, default=224, help="height and width of the images (default 224)")
    parser.add_argument(
        "--cold-nbytes",
        type=lambda text: parse_nbytes(text, name="cold_nbytes"),
        default=500_000_000,
        help="of stored files that are read cold (default 500MB)",
    )
    parser.add_argument("--zarr-records", type=int, default=4_096, help="records that zarr reads one by one (default 4,096)")
    parser.add_argument("--open-files", type=int, default=200_000, help="of the folder that is opened (default 200,000)")
    parser.add_argument(
        "--open-nbytes",
        type=lambda text: parse_nbytes(text, name="open_nbytes"),
        default=20_000_000_000,
        help="of the sparse tars that are opened (default 20GB)",
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="some of the rows (default: all)")
    options = parser.parse_args(given)
    report = Report("sources", options)
    rows = Rows(report, options).by_name
    unknown = [name for name in options.rows if name not in rows]
    if unknown:
        parser.error(f"there is no row {unknown[0]}; there are {', '.join(rows)}")
    for name in options.rows or rows:
        rows[name]()
    report.end()


if __name__ == "__main__":
    main()
