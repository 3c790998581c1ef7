"""Manifests beside single files: where one can be written, and what was asked of the file then, which is asked again later."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping
from typing import Any

from streamload.errors import ConfigError
from streamload.tools.convert.manifest import manifest_path

KEY = "opened"
"""Under which it stands in the provenance of a manifest."""
ARGUMENTS = ("fields", "shape", "record_axis", "fill", "option")
"""Those that change which records there are, or what they hold."""


def require_one_file(path: str, manifest: Mapping[str, Any] | None) -> None:
    """Raise ConfigError where no manifest can be written: there is one, or there is not one file."""
    if manifest is not None:
        raise ConfigError(f"{path} has a manifest already: {manifest_path(path)}.", hint="Delete it first, if it is wrong.")
    if os.path.isdir(path):
        raise ConfigError(
            f"{path} is a folder, and a manifest is written beside one file.",
            hint=f"Name a file in it; or `streamload convert {shlex.quote(path)} NEW` writes a folder with a manifest.",
        )
    if not os.path.isfile(path):
        raise ConfigError(f"{path} may be several files, and a manifest is written beside one file.", hint="Name one of them.")


def choice_in(arguments: argparse.Namespace) -> dict[str, Any]:
    """What arguments say of records, as a manifest keeps it: texts, or lists of them; nothing of what they do not say."""
    return {name: value for name in ARGUMENTS if (value := getattr(arguments, name))}


def choice_when_written(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked when a manifest was written. Raises ValueError where it says what nobody can have asked."""
    said = manifest["provenance"].get(KEY, {})
    if not isinstance(said, dict) or not set(said) <= set(ARGUMENTS):
        raise ValueError(f"{said!r} are no arguments")
    for name, value in said.items():
        texts = value if name in ("shape", "fill", "option") else [value]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{value!r} is no value of {name}")
    return said


def ask_again(arguments: argparse.Namespace, manifest: Mapping[str, Any]) -> str:
    """Let arguments that say nothing of records say what they said when a manifest was written; that in words, if it is anything."""
    said = choice_when_written(manifest)
    if not said or choice_in(arguments):
        return ""
    for name, value in said.items():
        setattr(arguments, name, value)
    listed = [(name, value if isinstance(value, list) else [value]) for name, value in said.items()]
    flags = [f"--{name.replace('_', '-')}={shlex.quote(text)}" for name, texts in listed for text in texts]
    return f"read as when the manifest was written: {' '.join(flags)}"
