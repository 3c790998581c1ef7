"""The checks for a machine with a GPU (bench/gpu.py), run on the CPU, where there is nothing to pin; they find what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from framework_data import loader_of

from bench.frameworks import write

torch = pytest.importorskip("torch")


def test_every_check_passes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Small, each by its name."""
    from bench.gpu import CHECKS, main

    monkeypatch.setattr("bench.gpu.STEPS", 10)
    monkeypatch.setattr("bench.gpu.PASSES", 2)

    assert main(["--device", "cpu", "--records", "100", "--batch", "16", "--workers", "0"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said[1:-1]] == list(CHECKS)
    assert said[-1] == "all right"
    assert "equal: 100 records once each, every byte, 8 batches held" in said


def test_other_bytes_are_found(tmp_path: Path) -> None:
    """One of them, in one record; and a sum that it changes."""
    from bench.gpu import SHAPE, Machine, Trial, equal, not_overwritten

    write(path := tmp_path / "train.h5", SHAPE, 20)
    with loader_of(path, batch_size=8, shuffle=False) as loader:
        images = torch.cat([image.clone() for image, _ in Trial(Machine("cpu"), loader, None).batches()])
        trial = Trial(Machine("cpu"), loader, images)
        assert equal(trial, trial.batches())
        images[13, 200, 100, 1] ^= 1
        with pytest.raises(AssertionError, match="other bytes in the batch of"):
            equal(trial, trial.batches())
        with pytest.raises(AssertionError, match="a batch was overwritten"):
            not_overwritten(trial)
        with pytest.raises(AssertionError, match="a record is missing"):
            equal(trial, [])
