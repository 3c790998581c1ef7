"""What is wrong at the prompt, and what its hints say to give."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tool_cases
from following import Case, case, command
from foreign_files import noise, png, tar_of
from format_cases import under

from streamload.tools.convert.writers import registry

SOURCE = "a.npz"


def cases(here: Path) -> Iterator[Case]:
    """All, one after another."""
    np.savez(SOURCE, image=np.ones((40, 16, 16, 3), "u1"), label=np.arange(40) % 3, y=np.arange(40))
    yield from of_convert()
    yield from of_conflicts()
    yield from of_targets()
    yield from of_looking()
    yield from tool_cases.cases(here)


def of_convert() -> Iterator[Case]:
    """Arguments that mean nothing, or are not read."""
    convert = command("convert", SOURCE, "out", "--to", "npz", "--overwrite", "--dry-run")
    yield case(
        convert, {"more": "--stratify label"}, ("--split", {"more": "--stratify label --split 0.5,0.5"}), ("Leave it out", {"more": ""})
    )
    yield case(convert, {"more": "--seed 3"}, ("--shuffle", {"more": "--seed 3 --shuffle"}), ("Leave it out", {"more": ""}))
    both = command("convert", SOURCE, "shares", "--to", "npz", "--shuffle")
    shares = ("--engine", {"more": "--task 0/1"})
    yield case(both, {"more": "--task 0/1 --engine dask://x:1"}, shares, ("--merge", lambda: (both("--task 1/1"), both("--merge"))))
    one = command("convert", SOURCE, "later", "--to", "npz", "--shuffle", "--where", "label == 1")
    first = ("--task 0/2", lambda: (one("--task 0/2"), one("--task 1/2"), one("--task 2/2"), one("--merge")))
    yield case(one, {"more": "--task 1/2"}, first)
    merged = command("convert", SOURCE, "merged", "--to", "npz", "--shuffle", "--where", "label == 1")
    done = ("--task 0/N and --task 1/N to N/N", lambda: (merged("--task 0/1"), merged("--task 1/1"), merged("--merge")))
    yield case(merged, {"more": "--merge"}, done)
    split = command("convert", SOURCE, "parts.npz", "--split", "0.5,0.5", "--dry-run")
    yield case(split, {}, ("--to", lambda: command("convert", SOURCE, "parts", "--split", "0.5,0.5", "--to", "npz", "--dry-run")()))


def of_conflicts() -> Iterator[Case]:
    """Arguments of which one leaves another nothing to do."""
    convert = command("convert", SOURCE, "out", "--to", "npz", "--overwrite", "--dry-run")
    yield case(convert, {"more": "--workers 2 --engine dask://x:1"}, ("Leave one of them out", {"more": "--workers 2"}))
    yield case(convert, {"more": "--engine dask://x:1"}, ("Leave --engine out", {"more": ""}))
    shares = command("convert", SOURCE, "first", "--to", "npz")
    yield case(
        convert, {"more": "--task 0/2"}, ("Leave --task out", {"more": ""}), ("--dry-run", lambda: (shares("--task 0/2"), shares("")))
    )
    listed = command("convert", SOURCE, "listed", "--to", "npz")
    merged = ("--merge", lambda: (listed("--task 0/1"), listed("--task 1/1"), listed("--merge --list-left-out")))
    yield case(listed, {"more": "--task 0/1 --list-left-out"}, merged)
    yield case(convert, {"more": "--masks image"}, ("Leave it out", {"more": ""}), ("--size", {"more": "--masks image --size 8x8"}))
    np.savez("masks.npz", mask=np.ones((4, 16, 16), "u1"), y=np.arange(4))
    masks = command("convert", "masks.npz", "masks.parquet", "--dry-run")
    none = ("--masks none", {"more": "--store jpeg --masks none"})
    yield case(masks, {"more": "--store jpeg"}, ("--store png", {"more": "--store png"}), none)
    with h5py.File("lengths.h5", "w") as file:
        file["image"], file["y"], file["other"] = np.ones((40, 8, 8, 3), "u1"), np.arange(40), np.arange(20)
    chosen = command("convert", "lengths.h5", "lengths.npz", "--dry-run")
    as_many = ("--fields", {"more": '--fields other --where "other > 3"'})
    yield case(chosen, {"more": '--where "other > 3"'}, ("of the same records", {"more": '--where "y > 3"'}), as_many)


def of_targets() -> Iterator[Case]:
    """Where and how it is written."""
    command("convert", SOURCE, "there.npz")()
    yield case(command("convert", SOURCE, "there.npz"), {}, ("--overwrite", {"more": "--overwrite"}))
    os.makedirs("photos")
    Path("photos/mine.txt").write_text("mine")
    yield case(
        command("convert", SOURCE, "photos", "--to", "npz", "--overwrite"),
        {},
        ("--overwrite", command("convert", SOURCE, "new", "--to", "npz")),
    )
    yield case(command("convert", SOURCE, "b.zzz", "--dry-run"), {}, ("--to hdf5", {"more": "--to hdf5"}))
    wrong = command("convert", SOURCE, "b.npz", "--dry-run")
    yield case(wrong, {"more": "--to hdf5"}, ("--to", {"more": "--to npz"}), ("leave --to out", {"more": ""}))
    packed = gzip.compress(tar_of([(f"{at}.png", png(noise(seed=at))) for at in range(3)]))
    Path("photos.tar.gz").write_bytes(packed)
    Path("photos.tar").write_bytes(gzip.decompress(packed))
    kept = command("convert", "photos.tar.gz", "kept.parquet", "--store", "keep", "--dry-run")
    unpacked = command("convert", "photos.tar", "kept.parquet", "--store", "keep", "--shuffle", "--dry-run")
    yield case(kept, {"more": "--shuffle"}, ("leave --shuffle out", {"more": ""}), ("Unpack it first", unpacked))
    stored = command("convert", "photos.tar", "stored.parquet", "--store", "png", "--dry-run")
    yield case(stored, {"more": "--codec gzip"}, ("--codec", {"more": ""}))
    with h5py.File("named.h5", "w", libver=("earliest", "v110")) as file:
        file["x"] = np.arange(9)
        file["x"].attrs["units"] = "m"
    told = command("convert", "named.h5", "named.npy", "--dry-run")
    parquet = command("convert", "named.h5", "named.parquet", "--dry-run")
    yield case(told, {}, ("--values-only", {"more": "--values-only"}), ("Write Parquet or Arrow", parquet))


def of_looking() -> Iterator[Case]:
    """What other commands take."""
    pq.write_table(pa.table({"label": [1, None, 3] * 9, "x": [[1, 2, 3]] * 27}), "nulls.parquet")
    nulls = command("plan", "nulls.parquet", "--no-measure", "--workers", 0, "--batch", 2)
    yield case(nulls, {"more": "--fill 0"}, ("--fill label=0", {"more": "--fill label=0"}))
    head = command("head", "nulls.parquet", "--fill", "label=0")
    yield case(head, {"more": "--shape x=far"}, ("image=32,32,3", {"more": "--shape x=3"}))
    axis = command("info", "axes.h5", "--no-measure")
    with h5py.File("axes.h5", "w", libver=("earliest", "v110")) as file:
        file["x"], file["y"] = np.ones((9, 9)), np.ones((9, 9))
    ways = (("Give 0", "0"), ("-1", "-1"), ("x=-1,y=0", "x=-1,y=0"))
    yield case(axis, {"more": "--record-axis far"}, *((words, {"more": f"--record-axis={given}"}) for words, given in ways))
    yield case(command("verify", SOURCE), {"more": "--labels label"}, ("label=10", {"more": "--labels label=10"}))
    command("show", SOURCE, "--output", "sheet.png")()
    yield case(command("show", SOURCE, "--output", "sheet.png"), {}, ("--overwrite", {"more": "--overwrite"}))
    flat = command("show", "nulls.parquet", "--fill", "label=0", "--output", "flat.png")
    yield case(flat, {}, ("streamload head", head), ("--shape image=32,32,3", {"more": "--shape x=1,3,1"}), leads_on=True)
    Path("chain.py").write_text("import streamload as sl\nOTHER = 3\nEMPTY = [sl.MixUp(num_classes=3)]\n")
    Path("good.py").write_text('import streamload as sl\nAUGMENT = sl.Augment("image", sl.RandomCrop(4))\n')
    shown = command("show", SOURCE, "--output", "chain.png", "--overwrite")
    said = ('AUGMENT = sl.Augment("image", ...)', {"more": "--augment good.py"})
    yield case(shown, {"more": "--augment chain.py"}, said)
    yield case(shown, {"more": "--augment chain.py:EMPTY"}, said)
    Path("named.py").write_text('import streamload as sl\nchain = (sl.Augment("image", sl.RandomCrop(4)),)\n')
    yield case(shown, {"more": "--augment named.py"}, ("Give one that it has: named.py:chain.", {"more": "--augment named.py:chain"}))
    np.savez("labels.npz", y=np.arange(9))
    yield case(command("show", "labels.npz"), {}, ("streamload head", command("head", "labels.npz")))
    filled = command("convert", "nulls.parquet", "filled.parquet", "--dry-run")
    yield case(filled, {}, ("--fill label=0", {"more": "--fill label=0"}), ("--on-bad skip", {"more": "--on-bad skip"}))
    convert = command("convert", SOURCE, "chunks.h5", "--dry-run")
    many = under(registry, "MOST_CHUNK_NBYTES", 2000, convert)
    yield case(many, {"more": "--chunk-records 40"}, ("--chunk-records", {"more": "--chunk-records 2"}))
    few = under(registry, "MOST_CHUNK_NBYTES", 500, convert)
    yield case(few, {"more": "--codec gzip --chunk-records 2"}, ("--codec and --chunk-records", {"more": ""}))
