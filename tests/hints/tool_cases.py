"""What is wrong with what commands are given to write, to measure and to report, and what their hints say to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import started
from following import Case, case, command
from foreign_files import noise, png, tar_of
from time_limits import GUARD_SECONDS

import bench.quality
from streamload.errors import StreamloadError
from streamload.tools.benchmark.cgroup import confined
from streamload.tools.benchmark.runs import passed
from streamload.tools.convert.staging import Staging

SOURCE = "a.npz"
SKIP = {"more": "--on-bad skip"}


def cases(here: Path) -> Iterator[Case]:
    """All, one after another; the arrays of `command_cases` lie there."""
    yield case(command("info"), {}, ("See streamload info --help", {"more": "--help"}))
    yield from of_images(png(noise((16, 16, 3))), png(noise((20, 20, 3))))
    yield from of_stored_images(png(noise((16, 16, 3))))
    yield from of_chosen_fields()
    yield from of_records()
    yield from of_targets()
    yield from of_scripts()
    yield from of_manifests()
    yield from of_measuring()


def of_images(small: bytes, large: bytes) -> Iterator[Case]:
    """Images that are not alike, that are missing, or that are damaged."""
    pq.write_table(pa.table({"image": [small, large] * 5, "label": list(range(10))}), "sizes.parquet")
    sizes = command("convert", "sizes.parquet", "sizes2.parquet", "--dry-run", "--store", "png")
    same = command("convert", "sizes.parquet", "sizes2.parquet", "--store", "keep")
    yield case(sizes, {}, ("--size HEIGHTxWIDTH", {"more": "--size 16x16"}), ("--store keep", same))
    folders = {
        "likes": [small, large, small],
        "cut": [small, small[:60], small],
        "headless": [small, b"\x89PNG\r\n\x1a\n", small],
        "few": [small, small, small],
    }
    for name, images in folders.items():
        os.makedirs(name)
        for at, image in enumerate(images):
            Path(f"{name}/{at}.png").write_bytes(image)
    Path("few/labels.csv").write_text("file,label\n0.png,1\n1.png,2\n2.png,3\n9.png,4\n")
    members = [(f"{at:03}.json", b'{"label": 1}') for at in range(80)] + [(f"{at:03}.late.png", small) for at in range(70, 80)]
    Path("hardly.tar").write_bytes(tar_of(sorted(members)))
    likes = command("convert", "likes", "likes.npz", "--dry-run")
    keep = ("--store keep", command("convert", "likes", "likes.parquet", "--dry-run", "--store", "keep"))
    yield case(likes, {}, ("--size HEIGHTxWIDTH", {"more": "--size 16x16"}), keep, ("--on-bad skip", SKIP))
    yield case(command("convert", "few", "few.npz", "--dry-run"), {}, ("--on-bad skip", SKIP))
    hardly = command("convert", "hardly.tar", "hardly.npz", "--dry-run")
    yield case(hardly, SKIP, ("--fields without it: label", {"more": "--fields label"}))
    alone = ("--fields late --on-bad skip", {"more": "--size 9x9 --fields late --on-bad skip"})
    yield case(hardly, {"more": "--size 9x9"}, alone, ("leave it out", {"more": "--fields label"}))
    for part in ("train", "val"):
        os.makedirs(f"parted/{part}/ant")
        Path(f"parted/{part}/ant/0.png").write_bytes(small)
    parted = command("verify", "parted", "--option", "split=train")
    yield case(parted, {"more": "--against parted"}, ("--against parted/train", {"more": "--against parted/train"}))
    yield case(command("convert", "cut", "cut.parquet", "--store", "keep"), {}, ("--on-bad skip", SKIP))
    yield case(command("convert", "headless", "headless.npz"), {}, ("--on-bad skip", SKIP))


def of_stored_images(small: bytes) -> Iterator[Case]:
    """What images are to be stored as, and fields that are none."""
    np.savez("numbers.npz", x=np.ones((9, 3)), y=np.arange(9))
    out = {"more": ""}
    yield case(command("convert", "numbers.npz", "b.parquet", "--dry-run"), {"more": "--store png"}, ("Leave --store out", out))
    kept = command("convert", SOURCE, "b.parquet", "--dry-run")
    as_png = {"more": "--store png"}
    yield case(kept, {"more": "--store keep"}, ("--store png", as_png), ("leave it out", out))
    np.savez("deep.npz", image=np.ones((9, 16, 16), "u2"))
    yield case(command("convert", "deep.npz", "b.parquet", "--dry-run"), {"more": "--store jpeg"}, ("--store png", as_png))
    pq.write_table(pa.table({"image": [small] * 9, "raw": [b"\0\1"] * 9, "label": list(range(9))}), "strange.parquet")
    strange = command("convert", "strange.parquet", "b.parquet", "--dry-run", "--store", "keep")
    yield case(strange, {}, ("Choose --fields without it", {"more": "--fields image,label"}))
    other = command("convert", SOURCE, "b.npz", "--dry-run", "--fields", "image", "--size", "8x8")
    size = command("convert", "numbers.npz", "b.npz", "--dry-run")
    yield case(size, {"more": "--size 8x8"}, ("Leave it out", out), ("other --fields", other))


def of_chosen_fields() -> Iterator[Case]:
    """Fields of single numbers that are not there under that name."""
    with h5py.File("groups.h5", "w", libver=("earliest", "v110")) as file:
        file["image"], file["g/label"], file["y"] = np.ones((9, 4, 4), "u1"), np.arange(9), np.arange(9)
    np.savez("images.npz", image=np.ones((9, 4, 4), "u1"))
    for source, name in {SOURCE: "labl", "groups.h5": "zebra", "images.npz": "zebra"}.items():
        convert = command("convert", source, "chosen", "--to", "npz", "--dry-run")
        renamed = command(*["convert", "groups.h5", "chosen", "--to", "npz", "--dry-run", "--fields", "image,a=g/label"])
        where, split = lambda more: f'--where "{more} == 1"', lambda more: f"--split 0.5,0.5 --stratify {more}"
        for asked in (where, split):
            ways: list[Any] = [("--fields a=x/y", lambda asked=asked, renamed=renamed: renamed(asked("a")))]
            ways += [("Did you mean 'label'", {"more": asked("label")})] if name == "labl" else []
            yield case(convert, {"more": asked(name)}, *ways)


def of_records() -> Iterator[Case]:
    """Conversions of which nothing is left, and texts that a file cannot hold."""
    texts = {"t": ["a\0b", "c", "d"], "y": [1, 2, 3]}
    pq.write_table(pa.table(texts), "zero.parquet")
    arrow = command("convert", "zero.parquet", "zero.arrow")
    ways = (("--fields", {"more": "--fields y --overwrite"}), ("--on-bad skip", {"more": "--on-bad skip --overwrite"}))
    yield case(command("convert", "zero.parquet", "zero.h5"), {}, *ways, ("Write Parquet or Arrow", arrow))
    with h5py.File("bytes.h5", "w", libver=("earliest", "v110")) as file:
        file.create_dataset("t", data=[b"\xff\xfe", b"c"], dtype=h5py.string_dtype())
        file["y"] = np.arange(2)
    yield case(command("convert", "bytes.h5", "bytes.parquet"), {}, *ways, ("Write HDF5", command("convert", "bytes.h5", "bytes2.h5")))
    pq.write_table(pa.table({"image": [png(noise())[:60]] * 3, "label": [1, 2, 3]}), "none.parquet")
    none = command("convert", "none.parquet", "none.npz", *["--shuffle", "--on-bad", "skip"])
    yield case(none, {}, ("Choose --fields", {"more": "--fields label"}))
    empty = command("convert", SOURCE, "empty.npz", "--where", "label > 100")
    yield case(empty, {}, (f"`streamload info {SOURCE}`", command("info", SOURCE, "--no-measure")))


def of_targets() -> Iterator[Case]:
    """Targets that come to exist at the last moment, and shares of the work that are missing."""
    late = Path("late.npz")

    def named(*, overwrite: bool = False) -> None:
        with Staging(str(late)) as staging:
            if not staging.begin({}):
                (Path(staging.out) / late.name).write_bytes(b"ours")
                late.write_bytes(b"mine")
            staging.move_file(late.name, {}, overwrite=overwrite)
        assert late.read_bytes() == b"ours"

    yield case(named, {}, ("--overwrite", {"overwrite": True}))
    shares = command("convert", SOURCE, "divided", "--to", "npz", "--shard-size", "4 KB")
    shares("--task 1/2")
    rest = ("--merge again", lambda: (shares("--task 2/2"), shares("--merge")))
    alone = ("leave both out", command("convert", SOURCE, "alone", "--to", "npz", "--shard-size", "4 KB"))
    yield case(shares, {"more": "--merge"}, rest, alone)


def of_scripts() -> Iterator[Case]:
    """Files that no script can be written for as they are."""
    init = command("init", SOURCE, "--label", "label", "--output", "train.py")
    init()
    yield case(init, {}, ("--output", {"more": "--output other.py"}), ("remove it", lambda: (os.remove("train.py"), init())))
    shadow = command("init", SOURCE, "--label", "label")
    yield case(shadow, {"more": "--output torch.py"}, ("--output train_torch.py", {"more": "--output train_torch.py"}))
    stored = command("init", "sizes.parquet", "--output", "-")
    for more in ("", "--image image "):
        yield case(stored, {"more": f"{more}--decode no"}, ("--decode 64x64", {"more": f"{more}--decode 64x64"}))
    np.savez("below.npz", image=np.ones((9, 16, 16, 3), "u1"), label=np.arange(9) - 1, y=np.arange(9))
    below = command("init", "below.npz", "--output", "-")
    yield case(below, {}, ("--label", {"more": "--label y"}))
    np.savez("constant.npz", image=np.ones((9, 16, 16, 3), "u1"), width=np.full(9, 120))
    constant = command("init", "constant.npz", "--output", "-")
    yield case(constant, {}, ("--label width", {"more": "--label width"}), ("another field with --label", {"more": "--label width"}))
    named = command("init", "two.npz", "--output", "-")
    np.savez("two.npz", a=np.ones((9, 16, 16, 3), "u1"), b=np.ones((9, 16, 16, 3), "u1"), label=np.arange(9))
    yield case(named, {}, ("Name one with --image", {"more": "--image b"}))


def of_manifests() -> Iterator[Case]:
    """Options that are neither, and manifests that are damaged."""
    ways = ((f"scaled={told}", {"more": f"--option scaled={told}"}) for told in ("true", "false"))
    command("convert", "sizes.parquet", "decoded.h5", "--size", "16x16")()
    yield case(command("info", "decoded.h5", "--no-measure"), {"more": "--option scaled=maybe"}, *ways)
    command("convert", SOURCE, "whole.npz")()
    manifest = Path("whole.npz.manifest.json")
    whole = manifest.read_text()
    verify = command("verify", "whole.npz")
    manifest.write_text(whole.replace('"records"', '"recards"'))
    anew = ("streamload verify --write-manifest", lambda: (manifest.unlink(), verify("--write-manifest"), verify()))
    yield case(verify, {}, anew)
    os.makedirs("plain")
    np.save("plain/a.npy", np.arange(9))
    named = ("Name a file in it", command("verify", "plain/a.npy", "--write-manifest"))
    converted = ("`streamload convert plain NEW`", lambda: (command("convert", "plain", "NEW")(), command("verify", "NEW")()))
    yield case(command("verify", "plain", "--write-manifest"), {}, named, converted)


def of_measuring() -> Iterator[Case]:
    """What is measured, and pages of what was measured."""
    quick = ("--workers", 0, "--seconds", "0.1", "--batch", 8)
    pq.write_table(pa.table({"t": [[1] * (at % 4) for at in range(90)]}), "ragged.parquet")
    ragged = command("bench", "ragged.parquet", *quick)
    yield case(ragged, {"more": "--contenders all"}, ("Leave --contenders out", {"more": ""}))
    Path("small.py").write_text('import streamload as sl\nAUGMENT = sl.Augment("image", sl.RandomCrop(4))\n')
    augmented = command("bench", "sizes.parquet", "--decode", "no", "--augment", "small.py:AUGMENT", *quick)
    sized = command("bench", "decoded.h5", "--augment", "small.py:AUGMENT", "--contenders", "none", *quick)
    yield case(augmented, {}, ("streamload convert --size", sized))
    yield from of_reports(quick)
    yield from of_ended_passes(quick)


def of_reports(quick: tuple[object, ...]) -> Iterator[Case]:
    """A page of what no benchmark wrote."""
    report = command("report", "results.json", "--html", "page.html")
    Path("results.json").write_text("{}")

    def written() -> None:
        with Path("results.json").open("w") as results, started("bench", SOURCE, *quick, "--json", stdout=results) as process:
            assert process.wait(GUARD_SECONDS) == 0
        report()

    def of_quality() -> None:
        few = "--json results.json --records 2048 --contender-records 512 --without-training --only ffcv_beton --folder quality"
        bench.quality.main(few.split())
        report()

    words = "streamload bench FILE --json > results.json"
    yield case(report, {}, (words, written), ("python -m bench.quality --json results.json", of_quality))


def of_ended_passes(quick: tuple[object, ...]) -> Iterator[Case]:
    """Passes whose process is killed, as where memory runs out, or ends of itself."""
    how = Path("how")
    Path("ending.py").write_text(
        "import os, sys, pathlib\nimport streamload as sl\n"
        'how = pathlib.Path("how")\n'
        'if how.exists() and "measure_epoch" in str(sys.modules["__main__"].__spec__):\n'
        '    print("the first words", file=sys.stderr, flush=True)\n'
        "    exec(how.read_text())\n"
        'AUGMENT = sl.Augment("image", sl.RandomCrop(4))\n'
    )
    chain = f"{os.path.abspath('ending.py')}:AUGMENT"
    measure = command("bench", "decoded.h5", "--augment", chain, "--contenders", "none", *quick)
    path = os.path.abspath("decoded.h5")
    config = {"paths": [path], "files": [path], "batch": 8, "order": "auto", "window": None, "memory": None, "io": "auto"}
    config |= {"seconds": 0.1, "workers": 0, "augment": chain, "fields": None, "options": {}, "fill": {}, "decode": None}
    how.write_text("os.kill(os.getpid(), 9)")

    def with_room() -> None:
        how.unlink()
        limit = "--limit-memory 4GB" if confined(4 << 30) is not None else ""
        measure(f"{limit} --memory 64MB --batch 4 --workers 0")

    every = "a higher --limit-memory, a smaller --memory or --batch, or fewer --workers"
    yield case(partial(passed, config), {}, (every, with_room))
    how.write_text('print("and why", file=sys.stderr, flush=True)\nos._exit(3)')

    def shown() -> None:
        with pytest.raises(StreamloadError) as caught:
            measure("--debug")
        assert caught.value.__notes__ == ["the first words\nand why"]

    yield case(partial(passed, config), {}, ("--debug", shown))
