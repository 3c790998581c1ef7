"""The warning about windows of few blocks looks at how labels lie, and not at how many there are alone."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

import streamload as sl

RECORDS, CLASSES = 8_000, 200
SORTED = np.repeat(np.arange(CLASSES), RECORDS // CLASSES)
RANDOM = np.random.default_rng(0).permutation(SORTED)
LABELS: dict[str, tuple[np.ndarray, str | None]] = {
    "sorted": (SORTED, "a window sees at most 64 of 200 labels"),
    "random": (RANDOM, None),
    "in runs": (np.random.default_rng(1).permutation(SORTED.reshape(-1, 40)).reshape(-1), "a window sees at most 64 of 200 labels"),
    "half random": (np.where(np.arange(RECORDS) < RECORDS // 2, SORTED, RANDOM), "a window sees at most 64 of 200 labels"),
    "counting": (np.arange(RECORDS), None),
    "counting from far": (np.arange(RECORDS, 0, -1) + 10**6, None),
    "pairs": (np.arange(RECORDS) // 2, None),
    "pairs at random": (np.random.default_rng(2).permutation(RECORDS) // 2, None),
    "triples": (np.arange(RECORDS) // 3, None),
    "fours": (np.arange(RECORDS) // 4, "labels"),
    "two, sorted": (SORTED // 100, None),
    "two, random": (RANDOM // 100, None),
}


@pytest.mark.parametrize("how", LABELS)
@pytest.mark.parametrize("window", [64, 32], ids="{} blocks".format)
def test_what_is_mixed_already_needs_no_warning(tmp_path: Path, how: str, window: int) -> None:
    """64 blocks of 25 records suffice where nobody knows better, and 32 where labels lie at random."""
    labels, said = LABELS[how]
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("image", data=np.zeros((RECORDS, 16), np.uint8), chunks=(25, 16), compression="gzip")
        file["label"] = labels
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sl.Loader(sl.open(tmp_path / "data.h5"), batch_size=32, shuffle=sl.Block(window=window * 25 * 24), num_workers=0).close()
    texts = [str(one.message) for one in caught]
    if window == 64:
        assert len(texts) == (said is not None)
        assert said is None or said in texts[0]
    else:
        assert [f"mixes only {window} blocks" in text for text in texts] == [True] * ("random" not in how or how.startswith("half"))


def test_a_subset_counts_by_its_own_records(tmp_path: Path) -> None:
    """The sorted half warns, the random half does not."""
    labels, _ = LABELS["half random"]
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("image", data=np.zeros((RECORDS, 16), np.uint8), chunks=(25, 16), compression="gzip")
        file["label"] = labels
    data = sl.open(tmp_path / "data.h5")
    for indices, warned in ((range(RECORDS // 2), True), (range(RECORDS // 2, RECORDS), False)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sl.Loader(data, batch_size=32, shuffle=sl.Block(window=64 * 25 * 24), num_workers=0, indices=indices).close()
        assert len(caught) == warned
