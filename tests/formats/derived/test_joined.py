"""Fields from different files, joined by record."""

from __future__ import annotations

import io
import operator
import tarfile
from pathlib import Path

import imagecodecs
import numpy as np
import parquet_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract import assert_delivers
from hdf5_files import write

import streamload as sl
from streamload import testing
from streamload.errors import ConfigError, SchemaMismatchError, SourceChangedError
from streamload.formats.derived.joined import FileRange
from streamload.formats.open import open_source
from streamload.storage.files import OpenFiles, fingerprint


def test_an_x_file_and_a_y_file_are_one_source(tmp_path: Path):
    """Whatever their layouts and formats; in every order, with workers and without."""
    images, other = parquet_files.images(60), parquet_files.images(60, seed=5)
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "z.npy", np.asfortranarray(other))
    write(tmp_path / "y-0.h5", y=np.arange(20))
    write(tmp_path / "y-1.h5", y=np.arange(20, 60))
    write(tmp_path / "g.h5", g=(images, {"chunks": (8, *images.shape[1:]), "compression": "gzip"}))
    paths = {"image": tmp_path / "x.npy", "label": str(tmp_path / "y-*.h5"), "turned": tmp_path / "z.npy", "packed": [tmp_path / "g.h5"]}
    expected = {"image": images, "label": np.arange(60), "turned": other, "packed": images}
    assert_delivers(paths, expected)
    source = open_source(paths)
    testing.check_source(source, expected)
    assert repr(source).startswith("NumPy and HDF5 4 sources joined by record: 60 records")
    (tmp_path / "g.h5").write_bytes((tmp_path / "y-0.h5").read_bytes())
    with pytest.raises(SourceChangedError, match=r"g\.h5"):
        source[:]
    source.close()


def test_a_stretch_of_files_is_all_that_readers_ask_of_files(tmp_path: Path):
    """Whatever `OpenFiles` learns to do, a joined column's reader can ask for too; closing is for the owner."""
    np.save(tmp_path / "x.npy", np.zeros(3))
    files = OpenFiles([fingerprint(tmp_path / "x.npy")])
    assert {name for name in dir(files) if not name.startswith("_")} - {"close"} <= set(dir(FileRange(files, 0, 1)))
    files.close()


def test_files_that_do_not_fit_are_refused_by_name(tmp_path: Path):
    """Other lengths, several fields, other arguments."""
    np.save(tmp_path / "x.npy", np.zeros((5, 3)))
    np.save(tmp_path / "y.npy", np.zeros(4))
    np.savez(tmp_path / "z.npz", a=np.zeros(5), b=np.zeros(5))
    x, y, z = (tmp_path / name for name in ("x.npy", "y.npy", "z.npz"))
    with pytest.raises(SchemaMismatchError) as caught:
        open_source({"x": x, "y": y})
    assert str(caught.value) == (
        f"Files to be joined differ in their number of records (x: 5 in {x}, y: 4 in {y}). They are incomplete, or do not belong together."
    )
    with pytest.raises(ConfigError) as caught:
        open_source({"x": x, "z": z})
    assert str(caught.value) == (
        f"'z': {z} holds several fields, ['a', 'b'], where one is to be joined. Choose one: {{'z': sl.open(..., fields=['a'])}}."
    )
    assert_delivers({"x": x, "z": open_source(z, fields=["b"])}, {"x": np.zeros((5, 3)), "z": np.zeros(5)})
    for arguments in ({"fields": ["x"]}, {"verify": True}):
        with pytest.raises(ConfigError, match=r"joined by record are given as \{field: path\}, and nothing else"):
            open_source({"x": x}, **arguments)
    with pytest.raises(ConfigError, match="and nothing else"):
        open_source({})


def test_a_joined_column_says_of_itself_what_the_column_says(tmp_path: Path):
    """Text in Arrow, packed pages, padded images and compressed chunks are mapped and read directly as they are alone."""
    padded = np.zeros((30, 40_000), np.uint8)
    for number, row in enumerate(padded):
        image = imagecodecs.png_encode(np.full((24, 32, 3), number, np.uint8))
        row[: len(image)] = np.frombuffer(image, np.uint8)
    np.save(tmp_path / "padded.npy", padded)
    text = pa.table({"text": ["word " * (8_000 + record) for record in range(30)]})
    with pa.OSFile(str(tmp_path / "text.arrow"), "wb") as file, pa.ipc.new_file(file, text.schema) as writer:
        writer.write_table(text, max_chunksize=8)
    pixels = parquet_files.images(30)
    pages = pa.table({"pixels": pa.array([image.tobytes() for image in pixels], pa.binary(pixels[0].nbytes))})
    pq.write_table(pages, tmp_path / "pixels.parquet", compression="zstd", row_group_size=10)
    noise = np.random.default_rng(0).integers(0, 256, (30, 300_000), dtype=np.uint8)
    write(tmp_path / "noise.h5", noise=(noise, {"chunks": (2, 300_000), "compression": "lzf"}))
    endings = {"padded": "npy", "text": "arrow", "pixels": "parquet", "noise": "h5"}
    paths = {name: tmp_path / f"{name}.{end}" for name, end in endings.items()}
    source = open_source(paths)
    testing.check_promises(source, source[:])
    for column in source.columns:
        alone = open_source(paths[column.field.name])
        for member in (*testing.SAID, "held"):
            joined, own = (operator.attrgetter(member)(one) for one in (column, alone.columns[0]))
            assert joined == own, f"{column.field.name}: {member}"
        assert (column.encoded is None) == (alone.columns[0].encoded is None)
        alone.close()
    assert {column.field.name for column in source.columns if column.mappable} == {"padded", "text", "pixels"}
    assert {column.field.name for column in source.columns if column.direct_nbytes} == {"padded", "text", "noise"}
    source.close()


def test_joined_columns_say_where_their_bytes_lie(tmp_path: Path):
    """In files by their numbers in the whole."""
    np.save(tmp_path / "a.npy", np.arange(60, dtype=np.int32).reshape(20, 3))
    np.save(tmp_path / "b.npy", np.arange(20, dtype=np.int64) - 5)
    pq.write_table(pa.table({"c": np.arange(20) + 100}), tmp_path / "c.parquet", row_group_size=6)
    source = open_source({name: tmp_path / f"{name}.{end}" for name, end in (("a", "npy"), ("c", "parquet"), ("b", "npy"))})
    testing.check_promises(source, source[:])
    runs = {column.field.name: column.byte_runs(3, 17) for column in source.columns}
    place = {Path(was.path).name: number for number, was in enumerate(source.fingerprints)}
    assert runs["a"].tolist() == [[place["a.npy"], 128 + 3 * 12, 128 + 17 * 12]]
    assert runs["b"].tolist() == [[place["b.npy"], 128 + 3 * 8, 128 + 17 * 8]]
    source.close()


def test_what_sources_say_of_their_fields_and_files_is_kept(tmp_path: Path):
    """Which fields are masks, and what was left out."""
    held = {"a.png": bytes(9), "seg.png": bytes(9)}
    with tarfile.open(tmp_path / "m.tar", "w") as archive:
        for number in range(3):
            for name, data in held.items():
                head = tarfile.TarInfo(f"{number}.{name}")
                head.size = len(data)
                archive.addfile(head, io.BytesIO(data))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "0.a.png"
        archive.addfile(link)
    parts = {name: open_source(tmp_path / "m.tar", [stored], decode=False) for name, stored in (("image", "a"), ("mask", "seg"))}
    with open_source(parts) as source:
        assert source.masks == {"mask"}
        assert [one.count for one in source.omissions] == [1, 1]


def damaged_images(path: Path, sizes: list[int], bad: int) -> Path:
    """A Parquet file of square PNG of these sizes, each of one level, 10 times its number; one of them is cut off."""
    images = [imagecodecs.png_encode(np.full((size, size, 3), 10 * number, np.uint8)) for number, size in enumerate(sizes)]
    images[bad] = images[bad][:30]
    pq.write_table(pa.table({"image": images}), path)
    return path


@pytest.mark.parametrize("first", ["image", "label"])
@pytest.mark.parametrize("sizes", [[16] * 8, [16, 17] * 4], ids=["one size", "two sizes"])
def test_joined_images_are_augmented_and_bad_ones_named_by_their_own_file(tmp_path: Path, sizes: list[int], first: str):
    """Whichever field is named first, and wherever the files of the other begin."""
    paths = {"image": damaged_images(tmp_path / "images.parquet", sizes, 5), "label": [tmp_path / "0.npy", tmp_path / "1.npy"]}
    for number, path in enumerate(paths["label"]):
        np.save(path, np.arange(4) + 4 * number + 50)
    source = open_source({first: paths.pop(first), **paths})
    chain = sl.Augment("image", sl.Resize((8, 8)))
    with sl.Loader(source, batch_size=8, shuffle=False, num_workers=0, augment=chain, on_bad_record="skip") as loader:
        (batch,) = loader
        (bad,) = loader.bad_records
    assert batch.records.tolist() == [0, 1, 2, 3, 4, 6, 7]
    assert (batch["label"] == batch.records + 50).all()
    assert (batch["image"] == 10 * batch.records[:, None, None, None]).all()
    assert bad.why.startswith(f"{tmp_path / 'images.parquet'}: record 5 of 'image' is a PNG that cannot be decoded")
    source.close()


def test_joined_columns_say_which_file_a_record_is_in(tmp_path: Path):
    """Raw records and compressed ones, whose files begin at other records than those of the other fields."""
    for number, (start, stop) in enumerate([(0, 3), (3, 10)]):
        np.save(tmp_path / f"x{number}.npy", np.zeros((stop - start, 300)))
        write(tmp_path / f"z{number}.h5", z=(np.zeros((stop - start, 300)), {"chunks": (2, 300), "compression": "gzip"}))
    np.save(tmp_path / "y.npy", np.zeros((10, 200)))
    source = open_source({"y": tmp_path / "y.npy", "z": str(tmp_path / "z*.h5"), "x": str(tmp_path / "x*.npy")})
    found = {
        column.field.name: [Path(source.fingerprints[column.file_of(record)].path).name for record in (0, 2, 3, 9)]
        for column in source.columns
    }
    assert found == {name: [f"{name}{n}.{end}" for n in (0, 0, 1, 1)] for name, end in (("z", "h5"), ("x", "npy"))} | {"y": ["y.npy"] * 4}
    source.close()
