"""HDF5 files that are damaged, busy, unsafe or beyond us: each is refused at open, by class and by text."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_files import WRITTEN, images, labels, refused, write

from streamload.errors import (
    ConfigError,
    CorruptDataError,
    SourceBusyError,
    SourceChangedError,
    SourceError,
    UnsafeSourceError,
    UnsupportedFeatureError,
)
from streamload.formats.open import open_source


def writer(path: Path, then: str, **options: object) -> subprocess.Popen[str]:
    """A process that has written to `path`, does `then`, says so, and waits."""
    code = (
        "import sys, time, h5py, numpy as np\n"
        f"file = h5py.File({str(path)!r}, 'w', **{options!r})\n"
        "file.create_dataset('x', data=np.arange(1000), chunks=(10,), maxshape=(None,))\n"
        f"{then}\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen[str]) -> None:
    """Kill the writer, as an operator or the kernel would."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


# D1, D2: not what it should be, or not all of it


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_d1_a_file_that_may_not_be_read_is_said_to_be(tmp_path: Path):
    """Permission denied, by name."""
    write(tmp_path / "a.h5", x=images())
    (tmp_path / "a.h5").chmod(0)
    assert refused(SourceError, tmp_path / "a.h5") == (f"{tmp_path / 'a.h5'} cannot be opened: Permission denied. Check its permissions.")


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999], ids=["1 %", "half", "99.9 %"])
def test_d2_a_file_cut_short_is_refused_with_both_sizes(kept: float, tmp_path: Path):
    """At construction, not when the missing records come up."""
    path = tmp_path / "a.h5"
    write(path, x=images(2000), y=labels(2000))
    whole = path.stat().st_size
    os.truncate(path, int(whole * kept))
    assert refused(CorruptDataError, path) == (
        f"{path} is cut short: {whole:,} bytes were written, {int(whole * kept):,} are there. "
        "The copy or the download was interrupted: fetch the file again."
    )


def test_d2_a_file_cut_within_its_first_bytes_is_refused(tmp_path: Path):
    """Only the signature is left."""
    path = tmp_path / "a.h5"
    write(path, x=images())
    os.truncate(path, 8)
    assert refused(CorruptDataError, path).startswith(f"{path} is damaged, or its writer did not close it: the HDF5 library says: ")


def test_d3_a_file_cut_after_opening_is_an_error_and_never_zeros(tmp_path: Path):
    """Raw records, decoded chunks, and what goes through the library alike."""
    kinds = {"raw": {}, "gzip": {"chunks": (8, 7, 6, 3), "compression": "gzip"}, "scaleoffset": {"chunks": (8, 7, 6, 3), "scaleoffset": 8}}
    for name, keywords in kinds.items():
        path = tmp_path / f"{name}.h5"
        write(path, x=(images(2000), keywords))
        source = open_source(path)
        source[0]
        size = path.stat().st_size
        os.truncate(path, size // 2)
        with pytest.raises(SourceChangedError) as caught:
            source[1999]
        assert str(caught.value) == (
            f"{path} shrank from {size:,} to {size // 2:,} bytes after it was opened. "
            "Leave data files alone while they are read; open the source again to read the new contents."
        )
        source.close()


# D7, D8: writers alive and dead


def test_d7_a_file_that_is_being_written_is_busy(tmp_path: Path):
    """No waiting; and it opens when the writer has closed it."""
    path = tmp_path / "a.h5"
    process = writer(path, "file.flush()")
    try:
        assert refused(SourceBusyError, path) == (
            f"{path} is open for writing in another process. Wait until it is closed, then open it again."
        )
    finally:
        ended(process)
    assert len(open_source(path)) == 1000


def test_d8_a_file_whose_writer_was_killed_gets_the_hint_and_is_not_touched(tmp_path: Path):
    """The flag that HDF5's newer formats leave behind is named; it is never cleared for the user."""
    path = tmp_path / "a.h5"
    ended(writer(path, "file.swmr_mode = True; file.flush()", libver="latest"))
    before = path.read_bytes()
    assert refused(CorruptDataError, path) == (
        f"{path} was not closed by the program that wrote it, or is still being written. "
        f"If nothing writes it any more, its last values may be missing; `h5clear -s {path}` makes it readable."
    )
    assert path.read_bytes() == before


def test_d8_a_file_that_was_never_flushed_is_damaged(tmp_path: Path):
    """What the writer had in memory is gone: an error, whatever is left of the file."""
    path = tmp_path / "a.h5"
    ended(writer(path, "file['big'] = np.zeros(10**6)", libver="latest"))
    assert "Fetch" in refused(CorruptDataError, path) or "h5clear" in refused(CorruptDataError, path)


# D12: filters


def write_with_unknown_filter(path: Path) -> None:
    """A dataset whose pipeline names a filter that no package installs."""
    with h5py.File(path, "w", **WRITTEN) as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((8, 7, 6, 3))
        plist.set_filter(32019, h5py.h5z.FLAG_OPTIONAL, (75,))
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((100, 7, 6, 3)), plist)
        file["x"][:] = images()


def test_d12_a_filter_that_is_not_installed_is_refused_by_number_and_name(tmp_path: Path):
    """At open, with the cure, and not when the first chunk is read."""
    path = tmp_path / "a.h5"
    write_with_unknown_filter(path)
    assert refused(UnsupportedFeatureError, path) == (
        f"{path}: dataset 'x' needs HDF5 filter 32019 (jpeg), which is not installed. "
        "Install the plugin of its makers, or write the file again with gzip (h5repack -f GZIP=4)."
    )


def test_d12_filters_of_hdf5plugin_are_used_where_it_is_installed_and_named_where_not(tmp_path: Path):
    """bzip2: read through the library with the package, refused with `pip install` without it."""
    path = tmp_path / "a.h5"
    code = (
        "import sys, h5py, hdf5plugin, numpy as np\n"
        "data = np.arange(1000).reshape(100, 10)\n"
        "with h5py.File(sys.argv[1], 'w') as file:\n"
        "    file.create_dataset('x', data=data, chunks=(7, 10), **hdf5plugin.BZip2())\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    read = (
        "import sys, streamload as sl; source = sl.open(sys.argv[1]); assert (source[:]['x'].ravel() == range(1000)).all(); source.close()"
    )
    subprocess.run([sys.executable, "-c", read, str(path)], check=True)
    installed, lacking = Path(h5py.__file__).parents[1], tmp_path / "lacking"
    lacking.mkdir()
    for entry in installed.iterdir():
        if not entry.name.startswith("hdf5plugin"):
            (lacking / entry.name).symlink_to(entry)
    without = (
        "import sys\nsys.path[:] = [sys.argv[2] if entry == sys.argv[3] else entry for entry in sys.path]\nimport streamload as sl\n"
        "try:\n    sl.open(sys.argv[1])\nexcept sl.UnsupportedFeatureError as error:\n    print(error, end='')"
    )
    command = [sys.executable, "-c", without, str(path), str(lacking), str(installed)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said == (
        f"{path}: dataset 'x' needs HDF5 filter 307 (bzip2), which is not installed. "
        "pip install hdf5plugin, or write the file again with gzip (h5repack -f GZIP=4)."
    )


def test_d30_plugins_are_not_looked_for_where_everyone_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither plugins nor drivers that the environment names are loaded for a data file."""
    path = tmp_path / "a.h5"
    write_with_unknown_filter(path)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins").chmod(0o777)
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path / "plugins"))
    assert refused(UnsafeSourceError, path) == (
        f"{path} needs a filter plugin, and HDF5_PLUGIN_PATH names {tmp_path / 'plugins'}, which every user may write to. "
        "Unset HDF5_PLUGIN_PATH, or take the write permission of others away (`chmod o-w`)."
    )
    monkeypatch.delenv("HDF5_PLUGIN_PATH")
    write(tmp_path / "b.h5", x=images())
    monkeypatch.setenv("HDF5_DRIVER", "core")
    assert len(open_source(tmp_path / "b.h5")) == 100
    monkeypatch.setenv("HDF5_VOL_CONNECTOR", "evil")
    assert refused(UnsafeSourceError, tmp_path / "b.h5") == (
        f"HDF5_VOL_CONNECTOR=evil would make the HDF5 library read {tmp_path / 'b.h5'} in another way than the file says. "
        "Unset HDF5_VOL_CONNECTOR."
    )


# D17, D18: bombs


def test_d17_a_shape_without_data_is_not_believed(tmp_path: Path):
    """Contiguous and chunked; never zeros in place of records."""
    for keywords in ({}, {"chunks": (2**20,)}):
        path = tmp_path / f"{len(keywords)}.h5"
        with h5py.File(path, "w", **WRITTEN) as file:
            file.create_dataset("x", (2**40,), "u1", **keywords)
        assert refused(CorruptDataError, path) == (
            f"{path}: dataset 'x' claims 1,099,511,627,776 records (1 TB), and no data is stored for them. "
            "Was the program that wrote it interrupted? Write it again; fields=['x'] delivers fill values."
        )


def test_d17_a_grid_of_endless_chunks_is_refused(tmp_path: Path):
    """One stored chunk does not buy an index of a thousand million."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        file.create_dataset("x", (2**40,), "u1", chunks=(2**10,))[0] = 1
    assert refused(UnsupportedFeatureError, path) == (
        f"{path}: dataset 'x' is cut into 1,073,741,824 chunks, of which 1 are stored; the limit is 134,217,728. "
        f"Write it in larger chunks: `h5repack -l x:CHUNK=4194304 {path} new.h5`."
    )


def test_d18_a_chunk_that_unpacks_to_gigabytes_is_refused(tmp_path: Path):
    """By its size, before any of it is read; a ratio alone is no crime."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        dataset = file.create_dataset("x", (2**31,), "u1", chunks=(2**31 - 2**10,), compression="gzip")
        dataset.id.write_direct_chunk((0,), b"x\x9c\x03\x00\x00\x00\x00\x01")
    assert refused(UnsupportedFeatureError, path) == (
        f"{path}: dataset 'x' has chunks of 2 GB (2147482624,); the limit is 1 GB. "
        f"Write it in smaller chunks: `h5repack -l x:CHUNK=4194304 {path} new.h5`."
    )


# D21, D22: what cannot be delivered


def _reference(file: h5py.File) -> None:
    file.create_dataset("x", (100,), h5py.ref_dtype)


def _ragged(file: h5py.File) -> None:
    file.create_dataset("x", (100, 2), h5py.vlen_dtype(np.int32))


TYPES: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "several strings a record": (lambda file: file.update({"x": [["a", "b"]] * 100}), "2 values of variable length (text) a record"),
    "several arrays a record": (_ragged, "2 values of variable length (array) a record"),
    "references": (_reference, "references to other objects"),
}


@pytest.mark.parametrize("kind", TYPES)
def test_d21_types_without_a_fixed_size_are_left_out_or_refused_by_name(kind: str, tmp_path: Path):
    """Noted when nobody asked for them, an error when somebody did; nothing is unpickled."""
    make, name = TYPES[kind]
    with h5py.File(tmp_path / "a.h5", "w", **WRITTEN) as file:
        make(file)
        file["y"] = labels()
    path = tmp_path / "a.h5"
    source = open_source(path)
    assert source.schema.names == ("y",)
    assert source.notes == (f"'x' left out: it holds {name}, which cannot be delivered as arrays of one shape",)
    assert refused(UnsupportedFeatureError, path, fields=["x"]) == (
        f"{path}: dataset 'x' holds {name}, which cannot be delivered as arrays of one shape. "
        "Choose other fields with fields=[...], or convert it to a type of fixed size."
    )


def test_d22_datasets_that_hold_no_records(tmp_path: Path):
    """Scalars and null spaces are refused by name; records of nothing are delivered; no records at all is an empty source."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        file["scalar"] = 3.0
        file["null"] = h5py.Empty("f4")
    single = "holds a single value (or none), not one a record"
    assert refused(ConfigError, path) == (
        f"{path} holds no dataset whose first axis could count records "
        "('null' left out: it holds a single value (or none), not one a record). "
        "Write arrays of one length, one a field; or name datasets with fields=[...] to learn why they do not serve."
    )
    for name in ("scalar", "null"):
        assert refused(ConfigError, path, fields=[name]) == (
            f"{path}: dataset '{name}' {single}. "
            "Choose a dataset whose first axis counts records; record_axis=None takes each dataset for one."
        )
    with h5py.File(path, "a") as file:
        file["flat"] = np.zeros((100, 0))
    assert open_source(path)[:]["flat"].shape == (100, 0)
    write(path, x=np.zeros((0, 4), "u1"), y=(np.zeros(0), {"chunks": (5,), "maxshape": (None,)}))
    source = open_source(path)
    assert len(source) == 0
    assert source[:]["x"].shape == (0, 4)
    with h5py.File(path, "w") as file:
        file.create_group("nothing")
    assert refused(ConfigError, path) == (
        f"{path} holds no dataset whose first axis could count records. "
        "Write arrays of one length, one a field; or name datasets with fields=[...] to learn why they do not serve."
    )


# D24: beyond 32 bits


def test_d24_records_beyond_four_gigabytes_are_found(tmp_path: Path):
    """A sparse file of 6 GB: the last records, and a field of more than 2**31 records."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **WRITTEN) as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((6 * 2**20, 1024)), plist)
        h5py.h5d.create(file.id, b"n", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((2**31 + 9,)), plist)
        file["x"][6 * 2**20 - 1] = 7
        file["n"][2**31 + 8] = 5
    source = open_source(path, fields=["x"])
    assert source[[-1, 0, -2]]["x"].sum(axis=1).tolist() == [7 * 1024 % 2**64, 0, 0]
    source.close()
    source = open_source(path, fields=["n"])
    assert int(source[2**31 + 8]["n"]) == 5
    source.close()


def test_a_chunk_that_lies_beyond_the_file_is_refused(tmp_path: Path):
    """The index of chunks is checked against the file before anything is read."""
    path = tmp_path / "a.h5"
    write(path, x=(images(16), {"chunks": (8, 7, 6, 3)}))
    with h5py.File(path) as file:
        info = file["x"].id.get_chunk_info(1)
    data = path.read_bytes()
    place = data.index(info.byte_offset.to_bytes(8, "little"))
    path.write_bytes(data[:place] + (10**6).to_bytes(8, "little") + data[place + 8 :])
    assert refused(CorruptDataError, path) == (
        f"{path}: dataset 'x' has a chunk of 1,008 bytes at offset 1,000,000, and the file has {len(data):,} bytes. "
        "The file is damaged or was cut short: fetch or write it again."
    )


def test_an_index_of_chunks_in_disorder_is_refused(tmp_path: Path):
    """Two chunks that change places in the index would give each other's records; the library, fill values."""
    path = tmp_path / "a.h5"
    write(path, x=(images(32), {"chunks": (8, 7, 6, 3), "compression": "gzip"}))
    data = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        first, second = (file["x"].id.get_chunk_info(number).byte_offset.to_bytes(8, "little") for number in (1, 2))
    # A key of the index is size, mask, four offsets and a zero; the address follows it. The record number is the first offset.
    for address, record in ((first, 16), (second, 8)):
        place = data.index(address) - 40
        assert int.from_bytes(data[place : place + 8], "little") == 24 - record
        data[place : place + 8] = record.to_bytes(8, "little")
    path.write_bytes(data)
    assert refused(CorruptDataError, path) == (
        f"{path}: the index of chunks of dataset 'x' is in disorder at the chunk that it lists as number 2. "
        "The file is damaged or was cut short: fetch or write it again."
    )


@pytest.mark.parametrize("endless", [(None, 7, 6), (32, None, 6), (32, 7, None), (None, None, 6), (32, 7, 6)], ids=str)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_the_order_of_every_honest_index_is_accepted(endless: tuple[int | None, ...], libver: str, tmp_path: Path):
    """Trees, arrays that grow along any axis, and fixed ones; also with chunks that were never written.

    Where an axis other than the first is the endless one, the library lists chunks in the wrong places: it has to read them.
    """
    values = images(32, shape=(7, 6))
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
        x = file.create_dataset("x", (32, 7, 6), "u1", chunks=(5, 3, 4), maxshape=endless, compression="gzip", fillvalue=0)
        values[10:15] = 0
        x[20:], x[:10], x[15:20] = values[20:], values[:10], values[15:20]
    source = open_source(tmp_path / "a.h5")
    np.testing.assert_array_equal(source[:]["x"], values)
    assert ("HDF5 library" in repr(source)) == (endless[0] is not None and None in endless)
    source.close()
