"""Every benchmark runs, small: it ends well, says what it must, and takes its caches for what they are."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from time_limits import GUARD_SECONDS

from bench.data import compressed, raw
from streamload.tools.benchmark.comparison import Comparison, Competitor, CompetitorFailed, NotInstalled, Run, in_turns
from streamload.tools.benchmark.environment import mount_of
from streamload.tools.benchmark.peers.serving import missing_module
from streamload.tools.files.page_cache import EVICT_ONLY, make_cold, make_warm, resident_share

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--nbytes", "3MB", "--pairs", "1", "--batch", "64"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the benchmarks of this module keep their files."""
    return tmp_path_factory.mktemp("bench")


def outside_xdist() -> dict[str, str]:
    """The environment of a program that is no worker of pytest-xdist, in which nothing is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}


def command(name: str, *given: str, folder: Path) -> tuple[str, list[dict]]:
    """What a benchmark printed, and the figures that it wrote."""
    results = folder / f"{name}.json"
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", *SMALL, *given, "--folder", str(folder), "--json", str(results)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), EVICT_ONLY: "1", "TORCHINDUCTOR_CACHE_DIR": str(folder / "torch")},
        capture_output=True,
        text=True,
        check=False,
        timeout=GUARD_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(results.read_text())
    assert {"processor", "memory", "disk", "versions"} <= set(said["machine"])
    return done.stdout, said["figures"]


@pytest.fixture
def on_a_disk(tmp_path: Path) -> None:
    """Files in memory can be neither evicted nor read directly."""
    if mount_of(tmp_path)[1] in ("tmpfs", "ramfs"):
        pytest.skip("temporary files lie in memory here")


def ratios(figures: list[dict]) -> list[str]:
    """What was compared with what."""
    for figure in figures:
        assert figure.get("ratio", 1) > 0
    return [figure["theirs"] for figure in figures if "ratio" in figure]


@pytest.mark.slow
def test_warm_passes_are_set_beside_the_ring_and_plain_copies(folder: Path):
    """The ring in its best mode, and one core's copies, with the cache looked at."""
    said, figures = command("warm", "--records", "784", "--without-torch", "--peer-pairs", "1", folder=folder)
    names = ratios(figures)
    assert names[0].startswith("ring, ")
    assert names[1:] == ["one core copying in order", "one core copying at random"]
    assert "mincore finds 100.0 % in memory" in said


@pytest.mark.slow
@pytest.mark.usefixtures("on_a_disk")
def test_wrapped_records_are_set_beside_fixed_ones(folder: Path):
    """Ragged, padded and joined, each after the cache was emptied."""
    said, figures = command("wrapped", "--record", "40000", folder=folder)
    assert ratios(figures) == ["fixed records"] * 3
    assert [figure["ours"] for figure in figures] == ["ragged Arrow", "images in a padded array", "joined files"]
    assert said.count("mincore finds 0.00 % in memory") == 3


@pytest.mark.slow
@pytest.mark.usefixtures("on_a_disk")
def test_cold_passes_are_set_beside_the_device(folder: Path):
    """Both orders, the cache emptied before every pass and found empty."""
    said, figures = command("cold", "--sweep", "1000000", "--window", "1 MB", folder=folder)
    names = ratios(figures)
    assert names[0].startswith("device, direct random reads of 150,528 B")
    assert names[1].startswith("device, direct sequential reads")
    assert said.count("mincore finds 0") == 2


@pytest.mark.slow
@pytest.mark.usefixtures("on_a_disk")
def test_a_pass_under_a_limit_shows_the_peak_of_its_group(folder: Path):
    """Limited and unlimited, or the reason why not."""
    said, _ = command("limited", "--limit", "400MB", "--io", "read", folder=folder)
    assert "peak" in said or "may not make a control group" in said


@pytest.mark.slow
def test_ranks_weights_and_mixtures_are_set_beside_plain_runs(folder: Path):
    """Each beside what it stands for, with an interval of the ratio; ranks run in processes of their own."""
    said, figures = command("streams", "--case", "gzip", folder=folder)
    assert ratios(figures) == ["one rank", "one rank", "unweighted", "gzip alone"]
    assert said.count("95 % interval") == 4


@pytest.mark.slow
@pytest.mark.usefixtures("on_a_disk")
def test_the_first_batch_is_timed_with_and_without_compiled_kernels(folder: Path):
    """Kernels cached, and the first run ever; and what importing the library costs."""
    said, _ = command("first_batch", "--record", "3072", folder=folder)
    assert "from the start of Python" in said
    assert "first run ever, compiling" in said
    assert "s to importing NumPy" in said
    assert "streamload --help takes" in said
    said, _ = command("first_batch", "--record", "3072", "--against", ROOT, folder=folder)
    assert "as fast as the other commit, times" in said


@pytest.mark.slow
def test_rows_of_augmentation_are_run_by_name(folder: Path, capsys: pytest.CaptureFixture[str]):
    """Bare loops, bare decoders at the scale chosen, what is not installed by name; and no row that is not there."""
    from bench import augment

    said, figures = command("augment", "crop-loops", "jpeg-bare", "crop-ffcv", folder=folder)
    assert ratios(figures)[:2] == ["bare loops to float32", "bare decoders at the scale chosen, and the consumer"]
    assert "FFCV is left out: ffcv is not installed (pip install ffcv)" in said or len(ratios(figures)) == 3
    with pytest.raises(SystemExit):
        augment.main(["crop-loop"])
    assert "there is no row crop-loop: crop-loops, crop-torchvision" in capsys.readouterr().err


@pytest.mark.slow
def test_the_order_and_the_parent_are_costed(folder: Path):
    """Nanoseconds a record up to 10^11, tables, bytes on sockets, microseconds a batch."""
    said, figures = command("order", "--chunks", "1000", folder=folder)
    assert "Exact, 1e+11 records" in said
    assert next(figure["step_nbytes"] for figure in figures if "step_nbytes" in figure) <= 1_024
    assert "microseconds a batch" in said


@pytest.mark.slow
@pytest.mark.usefixtures("on_a_disk")
def test_compressed_passes_are_set_beside_bare_decoders(folder: Path):
    """Deflate and lzf in chunks of 64, deflate in chunks of one; cold, and the first batch."""
    said, figures = command("compressed", "--without-torch", "--window", "1 MB", folder=folder)
    names = ratios(figures)
    assert len(names) == 5
    assert all("bare decoders" in name or name == "streamload, warm" for name in names)
    assert "from Loader(...), once imported" in said


@pytest.mark.slow
@pytest.mark.usefixtures("on_a_disk")
def test_zarr_stores_are_set_beside_bare_decoders(folder: Path):
    """Of both compressors."""
    said, figures = command("stores", "--window", "1 MB", folder=folder)
    assert ratios(figures) == ["2 bare decoders"] * 2
    assert "warm Zarr, Blosc zstd, chunks of 64" in said


@pytest.mark.slow
@pytest.mark.usefixtures("on_a_disk")
def test_folders_and_tars_are_set_beside_parquet_bare_reading_and_what_people_use(folder: Path):
    """Warm, cold and at open; who is not installed is left out by name."""
    small = ["--cold-nbytes", "1MB", "--zarr-records", "64", "--open-files", "2000", "--open-nbytes", "64MB"]
    said, figures = command("sources", "--side", "48", *small, folder=folder)
    names = ratios(figures)
    assert names[:4] == ["streamload, Parquet, Block 32 MB"] * 2 + ["16 bare threads", names[3]]
    assert names[3].startswith("device, direct random reads of ")
    assert names[-6:] == ["2 bare decoders"] * 2 + ["a scan by 8 threads"] * 2 + ["8 threads that read heads"] * 2
    for name in ("torchvision ImageFolder", "webdataset", "tf.data", "datasets imagefolder", "zarr"):
        assert any(f"{name}, " in line for line in said.splitlines() if " x " in line or "is left out" in line)
    assert "mincore finds 0.00 % in memory" in said


@pytest.mark.slow
@pytest.mark.usefixtures("on_a_disk")
def test_other_formats_are_set_beside_raw_hdf5_and_bare_decoders(folder: Path):
    """Parquet warm and cold, Arrow, npy; compressed Parquet beside its pages decoded, and beside pyarrow."""
    said, figures = command("formats", "--window", "4 MB", "--cold-pairs", "1", "--peer-pairs", "1", folder=folder)
    names = ratios(figures)
    assert names[:5] == ["streamload, raw HDF5"] * 4 + ["2 bare decoders (zstd)"]
    assert "pyarrow, batches in order" in names
    assert said.count("streamload, parquet") == 2
    assert "streamload, arrow" in said
    assert "streamload, npy" in said


@pytest.mark.slow
def test_encoded_images_are_set_beside_bare_decoders(folder: Path):
    """JPEG in Parquet as the hub has it; datasets with a torch loader where it is installed, or left out by name."""
    said, figures = command("encoded", "--side", "48", "--window", "200 KB", "--peer-pairs", "1", folder=folder)
    assert ratios(figures)[0] == "2 bare decoders (simplejpeg)"
    assert "Hugging Face datasets, torch loader" in said


@pytest.mark.parametrize("peer", ["torch_memmap", "torch_h5py"])
@pytest.mark.parametrize("variant", ["pairs", "whole"])
def test_a_peer_makes_a_pass_over_as_many_records_as_it_is_asked_for(folder: Path, peer: str, variant: str):
    """PyTorch over a mapping and over h5py, in pairs and in whole batches."""
    pytest.importorskip("torch")
    made = (
        compressed(folder, codec="lzf", chunk_records=64, nbytes=1 << 20)
        if peer == "torch_h5py"
        else raw(folder, record_nbytes=784, nbytes=1 << 20)
    )
    config = {"path": str(made.path), "batch": 64, "workers": 1, "variant": variant, "records": 128, "settle": 0}
    with Competitor(peer, peer, config) as contender:
        assert contender.run().records == 128


def test_a_peer_that_is_not_installed_is_left_out_by_name(tmp_path: Path):
    """Whatever cannot be imported says so, with the line that installs it, and the others go on."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    with pytest.raises(NotInstalled, match=r"^PyTorch is left out: torch is not installed \(pip install torch\)$"):
        Competitor("PyTorch", "torch_memmap", {}, environment={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})


@pytest.mark.parametrize(
    ("module", "package"),
    [("streaming.base", "mosaicml-streaming"), ("tensorflow", "tensorflow-cpu"), ("spdl", "spdl")],
    ids=["another name", "without the accelerator's parts", "the same name"],
)
def test_the_line_that_installs_a_contender_names_its_package(module: str, package: str):
    """Which is not always its module's name."""
    said = missing_module(ModuleNotFoundError(f"No module named '{module}'", name=module))
    assert said == f"{module} is not installed (pip install {package})"


@pytest.mark.slow
def test_contenders_are_set_beside_each_other_or_left_out_by_name(folder: Path):
    """Whatever is installed here, every one of them has its line."""
    said, _ = command("contenders", "--only", "torch_memmap", "spdl_memmap", folder=folder)
    for name in ("PyTorch, memmap, __getitems__", "SPDL, memmap"):
        assert f"x {name}\n" in said or f"{name} is left out: " in said
    assert "share of what one core copies" in said


@pytest.mark.slow
@pytest.mark.usefixtures("on_a_disk")
def test_limits_are_measured(folder: Path):
    """Copying, reading by size and depth, decoding, asking another process."""
    said, figures = command("limits", "--most", "1000000", folder=folder)
    for words in ("one core copying", "device, direct, random, 4,096 B", "decoding zlib", "round trip to another process"):
        assert words in said
    assert all(rate > 0 for figure in figures for rate in figure.get("rates", {}).values())


@pytest.mark.noisy
def test_a_peer_that_ends_is_an_error_with_its_status():
    """Not a hang, and not a figure."""
    with pytest.raises(CompetitorFailed, match="ring ended with status 1"):
        Competitor("ring", "ring", {"path": "/nowhere"})


def test_files_hold_what_they_are_named_after(folder: Path):
    """Raw bytes that do not compress; compressed images that do, as much as photographs."""
    made = compressed(folder, codec="gzip", chunk_records=64, nbytes=2 << 20)
    assert 1.4 < made.nbytes / made.stored_nbytes < 2.2
    assert raw(folder, record_nbytes=784, nbytes=1 << 20).stored_nbytes >= (1 << 20) - 784
    with h5py.File(made.path) as file:
        labels = file["label"][:]
    assert (np.diff(labels) >= 0).all()


@pytest.mark.usefixtures("on_a_disk")
def test_the_page_cache_is_emptied_and_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What mincore finds follows what was done; a file that someone maps is not called cold."""
    monkeypatch.setenv(EVICT_ONLY, "1")
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20))
    assert make_warm([path]).startswith("warm")
    assert resident_share(path) == 1.0
    assert "mincore finds 0.00 %" in make_cold([path])
    assert resident_share(path) == 0.0
    mapped = np.memmap(path, np.uint8, "r")
    assert mapped.sum()
    with pytest.raises(RuntimeError, match="some process maps them"):
        make_cold([path])


def test_pairs_alternate_and_the_ratio_is_their_median():
    """Whoever goes first changes from pair to pair; one odd pair does not move the ratio."""
    turns: list[str] = []

    def run(name: str, seconds: float) -> Run:
        turns.append(name)
        return Run(seconds=seconds, records=100, nbytes=1_000, cpu_seconds=0.0)

    paces = iter([1.0, 1.0, 50.0])
    pairs = in_turns(lambda: run("a", next(paces)), lambda: run("b", 2.0), 3)
    assert turns == ["a", "b", "b", "a", "a", "b"]
    found = Comparison(what="case", ours="a", theirs="b", pairs=pairs, cache="warm", target=1.5)
    assert found.ratio == 2.0
    assert "2.00 x b (aim: 1.5, reached)" in str(found)


@pytest.mark.slow
def test_the_pytest_benchmarks_run():
    """Kernels, orders, formats, collation, transport and epochs, once each."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "bench", "-q", "--benchmark-disable", "--bench-nbytes", "2MB", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=outside_xdist() | {"PYTHONPATH": str(ROOT), EVICT_ONLY: "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=GUARD_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.slow
def test_order_quality_is_measured_and_drawn(folder: Path):
    """Orders of our own, contenders by name, a network; the report and the pictures take what was written."""
    words = ["--records", "8192", "--contender-records", "1024", "--train-records", "600", "--epochs", "1", "--seeds", "1"]
    said, figures = command("quality", *words, "--only", "torch_memmap", "ffcv_beton", folder=folder)
    assert "streamload, Block" in said
    served = {figure["order"]: figure for figure in figures if "rate" in figure}  # quality and speed side by side
    assert all(figure["rate"] > 0 < figure["variance"] for figure in served.values())
    assert {"streamload's loader, Exact (full shuffle)", "streamload's loader, Block (windows of 131,072 bytes)"} <= set(served)
    trained = [figure for figure in figures if "accuracies" in figure]
    if trained:
        assert all(0 <= figure["mean"] <= 1 for figure in trained)
    else:
        assert "training is left out: torch is not installed" in said
    assert "FFCV, beton is left out: ffcv is not installed (pip install ffcv)" in said or "FFCV, beton (" in said
    drawn(folder, "quality", "quality-orders.png")


@pytest.mark.slow
def test_scale_is_measured_as_curves_with_their_laws(folder: Path):
    """Records, sizes, workers, files, windows and groups; every curve has its law."""
    said, figures = command("scale", "--only", "records", "windows", "groups", folder=folder)
    curves = [figure for figure in figures if "curve" in figure]
    assert {figure["along"] for figure in curves} == {"records", "bytes of a window", "groups"}
    assert all(set(figure["laws"]) == set(figure["curve"]) for figure in curves)
    assert "1e+10" in said
    drawn(folder, "scale", "scale-0.png")


def drawn(folder: Path, name: str, picture: str) -> None:
    """The page and the pictures of what a benchmark wrote."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for words in (
        ["streamload", "report", f"{name}.json", "--html", f"{name}.html"],
        ["bench.plots", f"{name}.json", "--folder", "pictures"],
    ):
        if words[0] == "bench.plots" and importlib.util.find_spec("matplotlib") is None:
            continue  # of the extra "bench"
        done = subprocess.run([sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "<svg" in (folder / f"{name}.html").read_text()
    if importlib.util.find_spec("matplotlib") is not None:
        assert (folder / "pictures" / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_results_of_pytest_benchmarks_can_be_compared(tmp_path: Path):
    """A second run finds the first, and sets the figures side by side."""
    words = [
        "-m",
        "pytest",
        "bench/test_orders.py",
        "-q",
        "--bench-nbytes",
        "1MB",
        "-p",
        "no:cacheprovider",
        "--benchmark-max-time",
        "0.05",
    ]
    words += ["--benchmark-min-rounds", "2", f"--benchmark-storage={tmp_path}", "--benchmark-autosave"]
    for more in ([], ["--benchmark-compare"]):
        done = subprocess.run(
            [sys.executable, *words, *more],
            cwd=ROOT,
            env=outside_xdist() | {"PYTHONPATH": str(ROOT), EVICT_ONLY: "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=GUARD_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "(NOW)" in done.stdout
    kept = json.loads(next(tmp_path.rglob("*.json")).read_text())
    assert {"processor", "disk", "versions"} <= set(kept["machine_info"])
    assert all({"records/s", "MB/s", "limit", "ratio", "page cache"} <= set(one["extra_info"]) for one in kept["benchmarks"])
