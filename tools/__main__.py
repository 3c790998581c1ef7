"""The command `streamload`: finds the command that was meant, runs it, and turns every error into a line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from streamload import __version__
from streamload.errors import ConfigError, StreamloadError
from streamload.processes.interrupts import ignore, leave, release, told
from streamload.tools.console import USAGE, Console, code_of, meant

COMMANDS = {
    "info": "what a file is, and whether it will be fast",
    "head": "the first records, as text",
    "show": "the first images, as a picture in the terminal or a PNG",
    "init": "write a training script for a file, in the framework you use",
    "plan": "what a loader will do with a file, and the call to paste",
    "convert": "turn images or files into HDF5, Parquet, Arrow or npy, verified",
    "verify": "find every flipped byte, or records that differ from another file's",
    "bench": "how fast a file is read, what the machine allows, what to change",
    "tune": "find workers, window and reading mode for this machine, by trials",
    "report": "one page with pictures from the results of benchmarks",
    "doctor": "what of this machine matters here, and what is wrong with it",
}
"""Each is a module of this name in `commands/`, with EXAMPLE, `add_arguments(parser)` and `run(arguments, console)`."""


WIDTH = 80


class Parser(argparse.ArgumentParser):
    """A parser that knows what was probably meant, and whose help fits a screen."""

    rows: Sequence[tuple[str, str]] = ()
    """Arguments and what they do, where a line for each would be too many."""
    as_json = False
    """Whether what is wrong with the arguments is answered as JSON too."""

    def format_help(self) -> str:
        """Example, purpose, and the arguments without headings."""
        if not self.rows:
            for group in self._action_groups:
                group.title = None
            return super().format_help()
        return f"{self.description}\n\n" + "".join(f"  {left:<27} {right}\n" for left, right in self.rows)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and what was probably meant; exit code 2."""
        options = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        unknown = re.search(r"unrecognized arguments: (.*)", message)
        wrong = next((word.partition("=")[0] for word in unknown[1].split() if word.startswith("-")), "") if unknown else ""
        hint = meant(wrong, options) if wrong else f"See {self.prog} --help."
        chosen = re.fullmatch(r"argument (--[a-z-]+): invalid choice: '(.*)' \(choose from (.*)\)", message)
        if chosen:
            message = f"{chosen[1]} {chosen[2]} is not known"
            hint = meant(chosen[2], [one.strip("' ") for one in chosen[3].split(",")])
        if unknown and not wrong:
            hint = 'One path is taken here; a pattern in quotes names many files: "train-*.h5".'
            if "--against" in options:
                hint = f"{hint} To compare with another file: --against {shlex.quote(unknown[1].split()[0])}."
        Console(as_json=self.as_json).error(ConfigError(message[:1].upper() + message[1:] + ".", hint=hint))
        raise SystemExit(USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Whatever ends it, from a closed pipe to Ctrl-C, ends it in a line or less."""
    try:
        return _ended(arguments)
    except KeyboardInterrupt as error:  # A second one, while the first was being told.
        leave(code_of(error))
        return code_of(error)


def _ended(arguments: Sequence[str] | None) -> int:
    """Run one command, and tell how it ended."""
    try:
        try:
            release()
            _open_streams()
            code = _command(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else USAGE
        except KeyboardInterrupt as error:
            code = code_of(error)
            _tell(error)
            ignore()
            sys.stdout.flush()
            leave(code)
        ignore()
        sys.stdout.flush()
        sys.stderr.flush()
        return code
    except BrokenPipeError:
        # Whoever read the answer has seen enough; what is left must not fail a second time when the interpreter ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):
            os.dup2(nowhere, number)
        os.close(nowhere)
        return 128 + signal.SIGPIPE


def _tell(error: KeyboardInterrupt) -> None:
    """Say what ended the command, and what is left of its work: also where a second signal came while that was undone."""
    notes: list[str] = []
    one: BaseException | None = error
    while one is not None:
        notes += [note for note in getattr(one, "__notes__", ()) if note not in notes]
        one = one.__context__
    try:
        print(f"streamload: {told(error)}", *notes, file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:  # The terminal has gone, as SIGHUP says.
        pass


def _open_streams() -> None:
    """Lead standard streams that are closed, as under some schedulers, to nowhere: no file that is opened may be taken for one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _command(arguments: Sequence[str] | None) -> int:
    """Find the command that is meant, and run it."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if given else USAGE
    if given[0] in ("-V", "--version"):
        print(f"streamload {__version__}")
        return 0
    name = given[0]
    as_json = "--json" in given
    if name not in COMMANDS:
        Console(as_json=as_json).error(ConfigError(f"There is no command {name!r}.", hint=meant(name, COMMANDS)))
        return USAGE
    try:
        command = importlib.import_module(f"streamload.tools.commands.{name}")
    except ImportError as error:
        if "--debug" in given:
            raise
        Console(as_json=as_json).error(error)
        return code_of(error)
    parser = _parser(name, command)
    parser.as_json = as_json
    return _run(command, parser.parse_args(given[1:]))


def _parser(name: str, command: Any) -> Parser:
    """The parser of one command: its help opens with an example."""
    parser = Parser(
        prog=f"streamload {name}",
        description=f"{command.EXAMPLE}\n\n{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.",
        usage=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=WIDTH, max_help_position=26),
        allow_abbrev=False,
        add_help=False,
    )
    parser.rows = getattr(command, "HELP", ())
    command.add_arguments(parser)
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="answer with one JSON document")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _run(command: Any, arguments: argparse.Namespace) -> int:
    console = Console(as_json=arguments.json)
    try:
        return command.run(arguments, console)
    except BrokenPipeError:
        raise
    except (StreamloadError, OSError, MemoryError, ImportError) as error:
        if arguments.debug:
            raise
        from streamload.tools.commands.advice_as_flags import with_flags

        console.error(with_flags(error, skip=hasattr(arguments, "on_bad")) if isinstance(error, StreamloadError) else error)
        return code_of(error)
    except Exception as error:
        if arguments.debug:
            raise
        console.error(error)
        print("  This should not have happened; --debug shows where it did.", file=sys.stderr)
        return code_of(error)


def overview() -> str:
    """The help of the command itself."""
    present = [name for name in COMMANDS if importlib.util.find_spec(f"streamload.tools.commands.{name}") is not None]
    lines = ["streamload info train.h5", "", "Look at, convert, verify and plan datasets.", ""]
    lines += [f"  {name:<8}  {COMMANDS[name]}" for name in present]
    lines += ["", "`streamload COMMAND --help` says more. All take --json and --debug (tracebacks)."]
    lines += ["Exit codes: 0 good, 1 something is wrong, 2 asked wrongly, 3 something ran out."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
