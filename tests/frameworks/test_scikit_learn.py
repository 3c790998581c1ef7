"""scikit-learn's partial_fit takes a loader's batches as they are: the arrays are NumPy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from framework_data import RECORDS, expected, flat, loader_of, values, write

linear = pytest.importorskip("sklearn.linear_model")


def test_partial_fit_over_batches(tmp_path: Path) -> None:
    """The coefficients are those of a model that is given the same records from memory."""
    path = write(tmp_path / "data.h5")
    model, other = (linear.SGDRegressor(random_state=0) for _ in range(2))
    with loader_of(path, num_workers=1) as loader:
        for epoch in loader.epochs(2):
            for batch in epoch:
                model.partial_fit(batch["x"], batch["number"] / RECORDS)
    x, number = values()
    for records in flat(expected(path, 2)):
        other.partial_fit(x[records], number[records] / RECORDS)
    assert np.array_equal(model.coef_, other.coef_)
