"""Runs one competitor: `python -m streamload.tools.benchmark.peers NAME`, the configuration and then requests on its standard input."""

from __future__ import annotations

import importlib
import sys

from streamload.tools.benchmark.comparison import module_of
from streamload.tools.benchmark.peers.serving import serve

if __name__ == "__main__":
    serve(lambda config: importlib.import_module(module_of(sys.argv[1])).make(config), sys.stdin.readline())
