"""A framework that is not installed is an error that says what to install, and `import streamload` asks for none."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import pytest
from framework_data import loader_of, write

import streamload as sl
from streamload.frameworks.missing import framework

ADAPTERS = {
    "for_torch": ("torch", "torch"),
    "for_jax": ("jax", "jax"),
    "for_tf": ("tensorflow", "tensorflow"),
    "for_keras": ("keras", "keras"),
}


def test_what_is_missing_is_named_with_the_line_that_installs_it() -> None:
    """Whatever the framework."""
    with pytest.raises(sl.ConfigError) as caught:
        framework("no_such_framework", asked="sl.for_torch", extra="torch")
    assert str(caught.value) == ('sl.for_torch needs no_such_framework, which is not installed. Run: pip install "streamload[torch]"')


def test_the_line_installs_it() -> None:
    """Each of these is an extra of this project, that holds the framework."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for module, extra in ADAPTERS.values():
        assert any(one.startswith(module) for one in project["optional-dependencies"][extra])
        assert extra in project["optional-dependencies"]["all"][0].partition("[")[2].rstrip("]").split(",")


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_without_its_framework(tmp_path: Path, name: str) -> None:
    """The adapter itself says so, where the framework is not there."""
    module, extra = ADAPTERS[name]
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{module} is installed")
    with loader_of(write(tmp_path / "data.h5")) as loader, pytest.raises(sl.ConfigError) as caught:
        getattr(sl, name)(loader, ("x", "number"))
    assert str(caught.value) == f'sl.{name} needs {module}, which is not installed. Run: pip install "streamload[{extra}]"'
