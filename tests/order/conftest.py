"""Both sets of kernels, by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import streamload.kernels


@pytest.fixture(params=["compiled", "plain"])
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test with the compiled kernels, and again with the plain ones."""
    assert streamload.kernels.compile_kernels()
    if request.param == "plain":
        streamload.kernels.use(compiled=False)
    yield request.param
    streamload.kernels.use(compiled=True)
