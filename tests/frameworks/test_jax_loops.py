"""JAX: batches of one shape, on one device, eight, or several processes; 64-bit numbers are never cut."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from framework_data import BATCH, NUMBERS, RECORDS, STEPS, WIDTH, expected, flat, loader_of, values, write

import streamload as sl

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    jax = pytest.importorskip("jax")
    from jax import numpy as jnp


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """1,003 records."""
    return write(tmp_path / "data.h5")


def counted(batch: dict) -> list[int]:
    """The numbers of the records that count."""
    return np.asarray(batch["number"])[np.asarray(batch["valid"])].tolist()


def test_every_batch_has_one_shape_and_each_record_counts_once(path: Path) -> None:
    """The last is filled up with its last record, and `valid` says so; nothing is compiled twice."""
    x, _ = values()
    with loader_of(path, num_workers=1) as loader:
        batches = sl.for_jax(loader)
        assert len(batches) == STEPS
        traced = []

        @jax.jit
        def step(weights: jax.Array, batch: dict) -> jax.Array:
            traced.append(1)

            def loss(weights: jax.Array) -> jax.Array:
                errors = (batch["x"] @ weights - batch["number"] / RECORDS) ** 2
                return jnp.where(batch["valid"], errors, 0).sum() / batch["valid"].sum()

            return weights - 0.05 * jax.grad(loss)(weights)

        weights = jnp.zeros(WIDTH)
        seen = []
        for _ in range(2):
            seen.append([])
            for batch in batches:
                assert {name: one.shape for name, one in batch.items()} == {"x": (BATCH, WIDTH), "number": (BATCH,), "valid": (BATCH,)}
                assert np.array_equal(batch["x"], x[np.asarray(batch["number"])])
                seen[-1].append(counted(batch))
                weights = step(weights, batch)
    assert seen == expected(path, 2)
    assert len(traced) == 1
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("after", [1, 7, STEPS, STEPS + 2])
def test_a_state_goes_on_with_the_very_next_batch(path: Path, after: int) -> None:
    """In the middle of an epoch, at its end, and in a later one."""
    whole = flat(expected(path, 2))
    with loader_of(path) as loader:
        batches, seen, state = sl.for_jax(loader), 0, None
        while state is None:
            for _ in batches:
                seen += 1
                if seen == after:
                    state = batches.state_dict()
                    break
    with loader_of(path) as loader:
        batches = sl.for_jax(loader)
        batches.load_state_dict(state)
        rest = [counted(batch) for batch in batches]
        assert rest == whole[after : after + len(rest)]
        assert len(rest) == (STEPS - after % STEPS) % STEPS


def test_what_is_under_way_is_not_in_the_state(path: Path) -> None:
    """As towards an accelerator: two batches are begun ahead of the one in use."""
    whole = expected(path, 2)
    with loader_of(path, num_workers=1) as loader:
        batches = sl.for_jax(loader)
        assert batches._form.ahead == (0 if jax.default_backend() == "cpu" else 2)
        batches._form.ahead = 2
        for step, batch in enumerate(batches):
            assert counted(batch) == whole[0][step]
            assert batches.state_dict()["position"] == min((step + 1) * BATCH, RECORDS)
        for step, _ in enumerate(batches):
            if step == 4:
                break
        state = batches.state_dict()
        batches.load_state_dict(state)
        assert [counted(batch) for batch in batches] == whole[1][5:]


def test_tuples_and_single_arrays(path: Path) -> None:
    """Without `valid` the last batch is smaller; with it, it is filled up."""
    with loader_of(path) as loader:
        assert [one.shape[0] for (one,) in sl.for_jax(loader, ("number",))] == [BATCH] * (STEPS - 1) + [RECORDS - BATCH * (STEPS - 1)]
        assert {one.shape for one, _ in sl.for_jax(loader, ("x", "valid"))} == {(BATCH, WIDTH)}
        assert next(iter(sl.for_jax(loader, "number"))).shape == (BATCH,)


def test_after_another_batch_size_every_batch_has_the_new_shape(path: Path) -> None:
    """The last one too."""
    with loader_of(path) as loader:
        batches = sl.for_jax(loader, ("number", "valid"))
        for size in (BATCH, 2 * BATCH, BATCH // 2):
            loader.set_batch_size(size)
            seen = []
            for number, valid in batches:
                assert number.shape == valid.shape == (size,)
                seen += np.asarray(number)[np.asarray(valid)].tolist()
            assert sorted(seen) == list(range(RECORDS))


def test_a_number_that_does_not_fit_leaves_an_epoch_that_can_be_begun_again(tmp_path: Path) -> None:
    """The error comes with its batch, and with it again; after a seek beyond it training goes on."""
    path = write(tmp_path / "data.h5", wide=np.where(np.arange(RECORDS) == 70, 2**40, 1))
    with loader_of(path, shuffle=False) as loader:
        batches = sl.for_jax(loader, ("wide",))
        for _ in range(2):
            begun = iter(batches)
            next(begun)
            with pytest.raises(OverflowError, match="holds 1099511627776"):
                next(begun)
            loader.seek(epoch=0)
        loader.seek(epoch=0, step=2)
        assert sum(len(wide) for (wide,) in batches) == RECORDS - 2 * BATCH


def in_a_process_of_its_own(code: str, path: Path, **environment: str) -> list[str]:
    """The lines that a program prints, which is given a path."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:streamload", "-c", code, str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout.splitlines()


EIGHT = """
import sys
import jax, numpy as np
from framework_data import loader_of, expected
import streamload as sl
sharding = jax.sharding.NamedSharding(jax.make_mesh((8,), ("data",)), jax.sharding.PartitionSpec("data"))
path = sys.argv[1]
with loader_of(path) as loader:
    seen = []
    for batch in sl.for_jax(loader, sharding=sharding):
        assert len(batch["x"].addressable_shards) == 8
        assert all(shard.data.shape == (8, 6) for shard in batch["x"].addressable_shards)
        seen.append(np.asarray(batch["number"])[np.asarray(batch["valid"])].tolist())
    assert seen == expected(path, 1)[0]
    try:
        sl.for_jax(loader, ("x", "number"), sharding=sharding)
    except sl.ConfigError as error:
        print(error)
"""


def test_records_are_spread_over_eight_devices(path: Path) -> None:
    """Each has eight of 64; the last batch too; and a tuple without `valid`, which could not be spread, is refused beforehand."""
    said = in_a_process_of_its_own(EIGHT, path, XLA_FLAGS="--xla_force_host_platform_device_count=8")
    assert " ".join(said) == (
        "sl.for_jax(sharding=) needs batches of one shape, and the last of an epoch may be smaller. "
        'Name "valid" among the fields, which fills it up and says what counts, or make the loader with drop_last=True.'
    )


def test_numbers_of_64_bits_are_narrowed_only_where_they_fit(tmp_path: Path) -> None:
    """2**40 + 5 is an error that names the field and the value, never 5; what fits is exact; infinities stay."""
    fits = {"int64": np.arange(-50, 50), "uint64": np.arange(100, dtype=np.uint64) + 2**32 - 101, "float64": np.linspace(0, 1, 100)}
    fits["float64"][:2] = [np.inf, np.nan]
    far = {"int64": 2**40 + 5, "uint64": 2**63, "float64": 1e300}
    for name, array in fits.items():
        wrong = array.copy()
        wrong[70] = far[name]
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["fits"], file["wrong"] = array, wrong
        with loader_of(tmp_path / f"{name}.h5", shuffle=False) as loader:
            for (one,), start in zip(sl.for_jax(loader, ("fits",)), (0, 64), strict=True):
                assert str(one.dtype) == name.replace("64", "32")
                assert np.array_equal(one, array[start : start + 64].astype(one.dtype), equal_nan=True)
            batches = iter(sl.for_jax(loader, "wrong"))
            next(batches)
            with pytest.raises(OverflowError) as caught:
                next(batches)
            assert str(caught.value) == (
                f"the field 'wrong' holds {far[name]}, which {name.replace('64', '32')} cannot. "
                "Turn on jax_enable_x64, or make smaller numbers of it in the loader's transform=."
            )


X64 = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
from framework_data import loader_of
import streamload as sl
with loader_of(sys.argv[1], shuffle=False) as loader:
    (one,) = next(iter(sl.for_jax(loader, ("wide",))))
    print(one.dtype, one[0])
"""


def test_with_x64_nothing_is_narrowed(tmp_path: Path) -> None:
    """64 bits stay 64."""
    path = write(tmp_path / "data.h5", wide=np.arange(RECORDS) + 2**40)
    assert in_a_process_of_its_own(X64, path) == [f"int64 {2**40}"]


def test_every_number_of_up_to_32_bits_keeps_its_dtype(tmp_path: Path) -> None:
    """Each as it is stored."""
    kept = [name for name in NUMBERS if np.dtype(name).itemsize <= 4 or name == "complex64"]
    arrays = {dtype: (np.arange(140).reshape(70, 2) % 120).astype(dtype) for dtype in kept}
    with h5py.File(tmp_path / "data.h5", "w") as file:
        for dtype, array in arrays.items():
            file.create_dataset(dtype, data=array)
    with loader_of(tmp_path / "data.h5", shuffle=False) as loader:
        first = next(iter(sl.for_jax(loader)))
        for dtype, array in arrays.items():
            assert str(first[dtype].dtype) == dtype
            assert np.asarray(first[dtype]).tobytes() == array[:BATCH].tobytes()


def test_what_has_no_array_is_refused_by_name(tmp_path: Path) -> None:
    """Text."""
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("word", data=["a", "bc"], dtype=h5py.string_dtype())
        file.create_dataset("code", data=np.array([b"a", b"b"]))
    with loader_of(tmp_path / "data.h5") as loader:
        for name, said in (("word", "word text (ragged)"), ("code", "code |S1 ()")):
            with pytest.raises(sl.ConfigError) as caught:
                sl.for_jax(loader, name)
            assert str(caught.value).startswith(f"JAX has no array for the field '{said}'. Name other fields")
