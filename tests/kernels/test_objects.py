"""Machine code of augmentation that is kept in files: it needs the C library alone, and only what is whole is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streamload import kernels
from streamload.kernels import augment
from streamload.kernels.augment import objects
from streamload.storage.owned_files import Folder

pytestmark = pytest.mark.skipif(objects.processor() is None, reason="machine code is kept on 64-bit Linux alone")

USUAL = ("run", "draw", "crop", "bilinear", "curve", "brightness", "contrast", "saturation", "hue", "nearest", "erase", "float32_chw")


def kept_in() -> Path:
    """The folder, with the code of usual chains in it."""
    kernels.use(compiled=True)
    kernels.load_augment_kernels(USUAL)
    with kernels._augment_folder() as folder:
        assert folder is not None
        return Path(folder.path)


def kept(name: str) -> bytes:
    with Folder.named(kept_in()) as folder:
        data = objects.read(folder, name)
    assert data is not None
    return data


@pytest.mark.parametrize("name", USUAL)
def test_usual_kernels_need_nothing_of_numba(name: str) -> None:
    """What they need of the C library depends on the processor: one without FMA calls it for that."""
    needed = set(objects.needs(kept(name)))
    assert [one for one in needed if one.startswith(("NRT_", "numba_", "Py")) and one != objects.NEVER_CALLED] == []


def test_kernels_with_arrays_of_numbas_own_are_left_to_numba() -> None:
    def mean(frame: int, parameters: int) -> None:
        np.zeros(frame)[0] = parameters

    assert objects.compiled_object("mean", mean) is None
    assert augment.MODULES.keys() > augment.RUNTIME


@pytest.mark.parametrize("gone", ["numba.core.compiler.compile_extra", "numba.core.registry.cpu_target"])
def test_a_numba_without_these_inner_parts_loads_its_code_itself(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(frame: int, parameters: int) -> None:
        pass

    assert objects.compiled_object("nothing", nothing) is not None
    monkeypatch.delattr(gone)
    assert objects.compiled_object("nothing", nothing) is None


@pytest.mark.parametrize("damage", ["cut short", "one bit", "no object", "empty", "none"])
def test_what_is_damaged_is_as_good_as_not_there(tmp_path: Path, damage: str) -> None:
    data = kept("curve")
    with Folder.named(tmp_path) as folder:
        if damage != "none":
            objects.write(folder, "curve", data if damage != "no object" else b"no object")
        file = tmp_path / "curve.o"
        if damage == "cut short":
            file.write_bytes(file.read_bytes()[:-1])
        elif damage == "one bit":
            file.write_bytes(bytes([*file.read_bytes()[:-1], data[-1] ^ 1]))
        elif damage == "empty":
            file.write_bytes(b"")
        found = objects.read(folder, "curve")
    if damage == "no object":
        assert found == b"no object"
        assert objects.ObjectLoader().load("curve", found) is None
    else:
        assert found is None


def test_code_that_needs_what_is_not_there_is_not_loaded() -> None:
    """Loading it would end the process."""
    data = kept("float32_chw")
    assert objects.ObjectLoader().load("float32_chw", data.replace(b"\0malloc\0", b"\0mallox\0")) is None


@pytest.mark.parametrize("trusted", ["all", "no file", "no folder", "no link"])
def test_code_that_others_may_have_written_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: str) -> None:
    """Neither a file that they may write, nor what lies in a folder that they may write, linked or not."""
    names = (*augment.ALWAYS, "curve")
    code = {name: kept(name) for name in names}
    monkeypatch.setenv("STREAMLOAD_CACHE_DIR", str(tmp_path))
    with kernels._augment_folder() as folder:
        assert folder is not None
        for name in names:
            objects.write(folder, name, code[name])
        path = Path(folder.path)
    if trusted == "no file":
        (path / "curve.o").chmod(0o620)
    elif trusted == "no folder":
        path.chmod(0o777)
    elif trusted == "no link":
        path.rename(tmp_path / "linked").chmod(0o777)
        path.symlink_to(tmp_path / "linked")
    loaded: dict[str, int] = {}
    monkeypatch.setattr(augment, "_addresses", loaded)
    assert kernels.augments_at_once(["curve"]) == (trusted == "all")
    assert loaded.keys() == {"all": set(names), "no file": set(augment.ALWAYS)}.get(trusted, set())


WITHOUT_NUMBA = """
import sys
from streamload import kernels
assert kernels.augments_at_once(("crop", "float32_chw"))
assert not kernels.augments_at_once(("crop", "filtered"))
runner = kernels.augment_runner()
assert runner.kernels(("crop",)).all() and kernels.draw_kernel()
print("numba" in sys.modules, type(runner).__name__, sorted(kernels.augment._addresses))
"""


def test_another_process_loads_it_without_numba() -> None:
    """And no more of it than was asked for."""
    kept_in()
    done = subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False CompiledRunner ['crop', 'draw', 'float32_chw', 'run']\n", "")


PREPARED = """
import sys
from streamload import kernels
kernels.prepare_augment_kernels(("elements_chw",))
print("numba" in sys.modules)
"""


def test_what_is_compiled_is_said_and_is_not_compiled_again(tmp_path: Path) -> None:
    """Until its code is damaged, or others may have written it."""
    environment = {**os.environ, "STREAMLOAD_CACHE_DIR": str(tmp_path)}

    def prepared() -> tuple[str, str]:
        done = subprocess.run([sys.executable, "-c", PREPARED], env=environment, capture_output=True, text=True, check=False)
        return done.stdout, done.stderr

    said = "streamload: compiling {} kernels of augmentation, a second or two each, once.\n"
    assert prepared() == ("True\n", said.format(3))
    assert prepared() == ("False\n", "")
    (folder,) = (tmp_path / f"kernels-py{sys.version_info[0]}{sys.version_info[1]}").glob("augment-*")
    assert sorted(path.name for path in folder.glob("*.o")) == ["draw.o", "elements_chw.o", "run.o"]
    whole = (folder / "draw.o").read_bytes()
    (folder / "draw.o").write_bytes(whole[:-1])
    (folder / "elements_chw.o").chmod(0o666)
    assert prepared() == ("True\n", said.format(2))
    assert (folder / "draw.o").stat().st_size == len(whole)
    assert (folder / "elements_chw.o").stat().st_mode & 0o777 == 0o600
    assert prepared() == ("False\n", "")
