"""`python -m streamload` is the command `streamload`."""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    runpy.run_module("streamload.tools", run_name="__main__", alter_sys=True)
