"""Runs one contender: `python -m bench.peers NAME CONFIGURATION`."""

from __future__ import annotations

import importlib
import sys

from bench.peers.serving import serve

if __name__ == "__main__":
    serve(lambda config: importlib.import_module(f"bench.peers.{sys.argv[1]}").make(config), sys.argv[2])
