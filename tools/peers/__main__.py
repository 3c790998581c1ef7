"""Runs one contender: `python -m streamload.tools.peers NAME`, the configuration and then requests on its standard input."""

from __future__ import annotations

import importlib
import sys

from streamload.tools.peers.serving import serve

if __name__ == "__main__":
    serve(lambda config: importlib.import_module(f"streamload.tools.peers.{sys.argv[1]}").make(config), sys.stdin.readline())
