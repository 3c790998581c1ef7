"""Passes, each in a process of its own: started, waited for, and turned into figures or into an error that says what happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamload.errors import ResourceError, StreamloadError, from_plain
from streamload.sizes import format_nbytes
from streamload.storage.owned_files import anonymous_file
from streamload.tools.files.page_cache import make_cold, make_warm

MODULE = "streamload.tools.benchmark.measure_epoch"


def passed(config: Mapping[str, Any], *, cold: bool = False) -> dict[str, Any]:
    """One pass, with the page cache emptied or filled before it, its state looked at by mincore; figures as `bench_pass` gives them.

    Raises what the pass raised; ResourceError where it was killed; StreamloadError where its process ended otherwise.
    """
    files = [Path(path) for path in config["files"]]
    cache = _cached(files, cold=cold or bool(config.get("limit_nbytes")), config=config)
    with anonymous_file() as complaints:
        done = subprocess.run(
            [sys.executable, "-P", "-m", MODULE],
            input=json.dumps(dict(config)),  # not an argument: thousands of paths would be too long for one
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            check=False,
            process_group=0,  # Ctrl-C is for this process to hear of, which then ends it
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        complaints.seek(0)
        last = complaints.read()[-2000:].decode(errors="replace").strip().splitlines()
    answer: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    if "error" in answer:
        raise from_plain(answer["error"])
    if "pass" not in answer:
        raise _ended(done.returncode, last, config)
    under = f", under a ceiling of {format_nbytes(config['limit_nbytes'])}" if config.get("limit_nbytes") else ""
    return {**answer["pass"], "cache": cache + under}


def _cached(files: Sequence[Path], *, cold: bool, config: Mapping[str, Any]) -> str:
    try:
        if cold:
            return make_cold(files)
        return make_warm(files) if config.get("warm", True) else "as it was"
    except RuntimeError as error:
        raise ResourceError(f"The page cache cannot be emptied of {files[0].name}: {error}.", hint="End what maps the file.") from error


def _ended(code: int, last: Sequence[str], config: Mapping[str, Any]) -> StreamloadError:
    limit = config.get("limit_nbytes")
    if code == -signal.SIGKILL:
        under = f" under a limit of {format_nbytes(limit)}" if limit else ""
        return ResourceError(
            f"The process of a pass was killed{under}: memory ran out.",
            hint="Give a higher --limit-memory, a smaller --memory or --batch, or fewer --workers.",
        )
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    error = StreamloadError(f"The process of a pass {how}" + (f": {last[-1]}." if last else "."), hint="Run it again with --debug.")
    error.add_note("\n".join(last))  # which --debug shows
    return error


def files_of(source: Any) -> list[Path]:
    """The files that a source reads."""
    return [Path(one.path) for one in source.fingerprints]
