"""The compiled loop that walks through large archives: when it is compiled, and what is said of that."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples.tar import write

import streamload as sl
from streamload import kernels
from streamload.formats.tar import walk


def test_what_walks_through_large_archives_is_compiled_once_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """On stderr, with how long it takes; not where the cache folder has it."""
    monkeypatch.setattr(walk, "WORTH_NBYTES", 0)
    kernels.compile_kernels()
    kernels.tar_kernels()
    capsys.readouterr()
    monkeypatch.setenv("STREAMLOAD_CACHE_DIR", str(tmp_path / "kept"))
    for said in ("streamload: compiling what walks through large tar archives, which takes some 3 seconds, once.\n", ""):
        path = tmp_path / f"{len(said)}.tar"
        write(path, [("0.id", b"7")])
        kernels.use(compiled=True)
        monkeypatch.setattr(kernels, "_announced", set[str]())
        with sl.open(path) as source:
            assert source[0]["id"] == 7
        assert capsys.readouterr().err == said
