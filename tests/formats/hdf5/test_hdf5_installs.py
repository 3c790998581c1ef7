"""However streamload is installed, files are looked at by a process of their own, and none kills the user's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hdf5_files import images, write
from misbehaving_disk import misbehaving

ROOT = Path(__file__).resolve().parents[3]
INSTALLS = {"wheel": ["."], "editable": ["--editable", "."], "checkout on the path": []}
OPEN = """
import os, sys, warnings
warnings.simplefilter("error")
import streamload as sl
assert os.path.realpath(sl.__file__).startswith(sys.argv[1] + os.sep), sl.__file__
for path in sys.argv[2:]:
    try:
        print(len(sl.open(path)), "h5py" in sys.modules)
    except sl.StreamloadError as error:
        print(type(error).__name__, error)
"""


def throwaway(folder: Path) -> Path:
    """An interpreter that sees the packages installed here, and no streamload (hooks of other environments do not run in it)."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    seen = [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    (packages / "seen.pth").write_text("\n".join(seen))
    return folder / "bin" / "python"


def copied(folder: Path) -> Path:
    """The project's own files: installing leaves things in the folder that it is done from."""
    for name in ("streamload", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize("how", INSTALLS)
def test_no_file_kills_the_users_process_however_streamload_is_installed(how: str, tmp_path: Path):
    """A real installation each; one file crashes the library that reads it, and the next one opens."""
    shim = misbehaving(tmp_path)
    python, project = throwaway(tmp_path / "env"), copied(tmp_path / "project")
    if INSTALLS[how]:
        install = [python, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
        subprocess.run([*install, *INSTALLS[how]], cwd=project, check=True)
    for name in ("crash.h5", "good.h5"):
        write(tmp_path / name, x=images(), y=np.arange(0, 200, 2))
    given = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {"LD_PRELOAD": shim}
    done = subprocess.run(
        [python, "-c", OPEN, tmp_path / "env" if how == "wheel" else project, tmp_path / "crash.h5", tmp_path / "good.h5"],
        cwd=tmp_path,
        env=given | ({} if INSTALLS[how] else {"PYTHONPATH": str(project)}),
        capture_output=True,
        text=True,
        check=False,
    )
    damaged = "the HDF5 library crashed (SIGSEGV) while reading the header. The file is damaged or was cut short: fetch or write it again."
    assert (done.stdout, done.stderr) == (f"CorruptDataError {tmp_path / 'crash.h5'}: {damaged}\n100 False\n", "")
