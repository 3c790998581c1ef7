"""What is no path of a file here: URLs, what is open already, what is in memory."""

from __future__ import annotations

import os
import re
import shlex
from typing import Any

from streamload.errors import ConfigError
from streamload.source import Source

_COPIES = {
    "s3": "Copy the file to a local disk first: `aws s3 cp {url} .`.",
    "gs": "Copy the file to a local disk first: `gcloud storage cp {url} .`.",
    "http": "Copy the file to a local disk first: `curl -LO {url}`.",
    "https": "Copy the file to a local disk first: `curl -LO {url}`.",
    "file": "Give its path alone: {path}.",
}
"""What brings a file here, by the scheme of its URL."""
PATHS = "Give a path, a list of paths, or a pattern such as train-*.h5."
"""What a path is given as."""


def refuse_opened(path: object) -> None:
    """Raise ConfigError for what is no path but data, or an open file of another library: nothing of it is read."""
    kind = f"{type(path).__module__.partition('.')[0]}.{type(path).__name__}"
    if kind in ("h5py.File", "h5py.Group", "h5py.Dataset"):
        file, name = _place_of(path)
        inside = {"h5py.Dataset": f", fields=[{name!r}]", "h5py.Group": f", fields={{'NAME': '{name}/NAME'}}"}.get(kind, "") if name else ""
        where = f"sl.open({file!r}{inside})" if file else f"sl.open(path{inside}) with the path of its file"
        raise ConfigError(f"This is a {kind}, where a path is wanted: workers open files themselves.", hint=f"Give it: {where}.")
    if isinstance(path, Source):
        raise ConfigError("This is a source already.", hint="Give it to sl.Loader; fields are chosen where it is opened.")
    if hasattr(path, "__array__") or hasattr(path, "__dataframe__"):
        raise ConfigError(
            f"This is a {kind}, where a path is wanted: what is in memory has no file that workers could read.",
            hint='Save it, np.save("x.npy", array), and give the path.',
        )


def _place_of(opened: Any) -> tuple[str | None, str]:
    """The path of the file of an h5py object, None where that is closed; and the object's name in it."""
    try:
        return opened.file.filename, str(opened.name or "").strip("/")
    except ValueError:
        return None, ""


def local(path: object) -> str:
    """A path as text. Raises ConfigError for what is none, for a URL, and for one that cannot be."""
    name = os.fspath(path) if isinstance(path, (str, bytes, os.PathLike)) else None
    if isinstance(name, bytes):
        raise ConfigError(f"{path!r} is bytes, where a path is text.", hint="Decode it: os.fsdecode(path).")
    if name is None:
        raise ConfigError(f"{path!r} is not a path.", hint=PATHS)
    if not name:
        raise ConfigError("The path is empty, '', and names nothing.", hint=PATHS)
    refuse_url(name)
    if "\x00" in name:
        raise ConfigError(f"{name!r} is not a path: it holds a zero byte.", hint="Check where the path comes from.")
    return name


def refuse_url(path: str) -> None:
    """Raise ConfigError for a URL, with what brings its file here."""
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
        return
    scheme, rest = path.split("://", 1)
    copy = _COPIES.get(scheme.lower(), "Copy the file to a local disk first.").format(url=shlex.quote(path), path=rest)
    raise ConfigError(f"{path} is a URL ({scheme}): only local paths are read.", hint=copy)
