"""Every file and field accounted for: what was found, what is taken, and what is left out and why."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streamload.errors import StreamloadError
from streamload.formats.naming.braces import alternatives
from streamload.formats.naming.split_words import SPLITS
from streamload.formats.partitions import files_below, leads_up
from streamload.formats.tar.archive import HIDDEN
from streamload.tools.console import Console, clean, counted
from streamload.tools.convert.manifest import FOLDER_NAME, SUFFIX, read_manifest
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.record_source import RecordSource

SYSTEM = ("thumbs.db", "desktop.ini", "__macosx", "lock.mdb")
DOCUMENTS = re.compile(r"(readme|licen[cs]e|copying|citation|changelog|notice|authors)\b.*", re.IGNORECASE)
"""Files that nobody takes for data."""
MOST_NAMED = 1000
"""Names for each reason that are kept; all are counted."""
MOST_SAID = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountEntry:
    """Things that are there and are not taken, for one reason."""

    what: str
    """ "file", "link", "member", "field" or "record"."""
    why: str
    names: tuple[str, ...]
    """At most MOST_NAMED of them."""
    count: int
    expected: bool = False
    """Whether the user asked for it, or nobody would take them for data."""

    def told(self) -> str:
        """In words."""
        return f"{counted(self.count, self.what)}: {self.why}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What became of everything at a path."""

    unit: str
    """What is counted: "file", or "store" where a folder is one thing."""
    found: int
    taken: int
    left_out: tuple[AccountEntry, ...]

    @property
    def is_lacking(self) -> bool:
        """Whether something was left out that the user did not ask to leave out."""
        return any(not one.expected for one in self.left_out)

    def line(self) -> str:
        """The last line of a command."""
        said = f"accounted for: {counted(self.found, self.unit)} found, {self.taken:,} taken"
        listed = sorted(self.left_out, key=lambda one: one.expected)
        return said + (f"; left out: {'; '.join(one.told() for one in listed)}" if listed else ", nothing left out")

    def names(self) -> Iterator[str]:
        """A line for each thing that was left out."""
        for one in self.left_out:
            yield from (f"{one.what} {clean(name)}: {clean(one.why)}" for name in one.names)
            if one.count > len(one.names):
                yield f"{counted(one.count - len(one.names), one.what)} more: {clean(one.why)}"

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        listed = [
            {"what": one.what, "why": one.why, "count": one.count, "expected": one.expected, "names": list(one.names)}
            for one in self.left_out
        ]
        return {"unit": self.unit, "found": self.found, "taken": self.taken, "left_out": listed}

    def also(self, *more: AccountEntry) -> Account:
        """The same with more that was left out."""
        return replace(self, left_out=(*self.left_out, *(one for one in more if one.count)))


def left_out(what: str, why: str, names: Iterable[str] = (), *, count: int | None = None, expected: bool = False) -> AccountEntry:
    """Things of one reason, by their names."""
    listed = list(names)
    return AccountEntry(
        what=what, why=why, names=tuple(listed[:MOST_NAMED]), count=len(listed) if count is None else count, expected=expected
    )


def lacking(account: Account) -> str:
    """What to say behind "verified" where something was left out that nobody asked to leave out."""
    counts = Counter[str]()
    for one in account.left_out:
        counts[one.what] += 0 if one.expected else one.count
    told = [counted(count, what) for what, count in counts.items() if count]
    return f" but for {' and '.join(told)} that {'was' if sum(counts.values()) == 1 else 'were'} left out" if told else ""


def show_account(account: Account, console: Console, *, listed: bool, of: str = "") -> None:
    """The last line of a command, and before it, where that is asked for, each thing that was left out; `of` says of what."""
    for name in account.names() if listed else ():
        console.say(f"  {name}")
    hint = " (--list-left-out names them)" if account.is_lacking and not listed else ""
    console.say(f"  {f'{clean(of)} is ' if of else ''}{clean(account.line(), most=2000)}{hint}")


def account_when_made(manifest: Mapping[str, Any]) -> Account:
    """What a manifest says was left out when its files were made: nothing that is lacking in them now."""
    files = manifest["files"]
    said = manifest["provenance"].get("account", {})
    known = [
        left_out(str(one["what"]), f"{one['why']}, when it was made", map(str, one["names"]), count=int(one["count"]), expected=True)
        for one in said.get("left_out", [])
        if not one["expected"]
    ]
    return Account(unit="file", found=len(files), taken=len(files), left_out=tuple(known))


def account_of(origin: RecordSource, request: OpenRequest, *, leave_out: Sequence[str] = ()) -> Account:
    """What of a path an origin takes; `leave_out` are patterns of names that the user does not want."""
    inside = (*_fields_of(origin, expected=request.fields is not None), *_contents_of(origin, leave_out))
    if origin.files is None:
        return Account(unit="store", found=1, taken=1, left_out=inside)
    taken = {os.path.realpath(path) for path in origin.files} | _converted(request.path)
    listed = _listed(request.path, taken)
    rest = {name: path for name, path in listed.items() if os.path.realpath(path) not in taken}
    chosen = request.split is not None and request.split is not False
    known = {_word(part) for folder in {os.path.dirname(name) for name in listed if name not in rest} for part in folder.split(os.sep)}
    files: list[AccountEntry] = []
    for one in origin.omissions:
        if one.what == "file":
            names = [name for name in one.names if name in rest and not _why(name, origin, known, chosen=chosen)[1]]
            files += _split("file", names, one.why, leave_out)
            for name in names:
                del rest[name]
    reasons: dict[tuple[str, bool], list[str]] = {}
    for name in rest:
        reasons.setdefault(_why(name, origin, known, chosen=chosen), []).append(name)
    for (why, expected), names in sorted(reasons.items()):
        files += _split("file", names, why, leave_out, expected=expected)
    taken_count = len(listed) - sum(one.count for one in files)
    circles = left_out("link", "leads back to a folder above it", _circles(request.path), expected=True)
    return Account(unit="file", found=len(listed), taken=taken_count, left_out=(*files, *inside)).also(circles)


def _word(name: str) -> str:
    """What a name begins with, in small letters."""
    return re.split(r"[^a-z0-9]", name.lower(), maxsplit=1)[0]


def _converted(path: str) -> set[str]:
    """The files of all parts of a folder that a conversion made; nothing for any other."""
    try:
        named = read_manifest(os.path.join(path, FOLDER_NAME))["files"]
    except (OSError, StreamloadError):
        return set()
    return {os.path.realpath(os.path.join(path, one["name"])) for one in named}


def _circles(path: str) -> Iterator[str]:
    """Links in a folder that lead back up: nothing new is behind them."""
    for here, folders, _ in os.walk(path):
        for name in folders:
            link = os.path.join(here, name)
            if os.path.islink(link) and leads_up(link, path):
                yield os.path.relpath(link, path)


def _split(
    what: str, names: Sequence[str], why: str, patterns: Sequence[str], *, count: int | None = None, expected: bool = False
) -> Iterator[AccountEntry]:
    """Things of one reason, those apart that the user wanted to leave out; `count` where the names are not all."""
    wanted = [name for name in names if _matches(name, patterns)]
    others = [name for name in names if not _matches(name, patterns)]
    more = 0 if count is None else count - len(names)
    if wanted:
        yield left_out(what, "by --leave-out", wanted, expected=True)
    if len(others) + more:
        yield left_out(what, why, others, count=len(others) + more, expected=expected)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, one) or fnmatch.fnmatch(os.path.basename(name), one) for one in patterns)


def _listed(path: str, taken: set[str]) -> dict[str, str]:
    """All files at a path, by their names in it; links to folders are followed, each folder once."""
    if os.path.isdir(path):
        return {os.path.relpath(one, path): one for one in files_below(path)}
    if os.path.lexists(path):
        # Labels beside it may be taken too.
        return {os.path.basename(one): one for one in {os.path.realpath(path), *taken}}
    several = [name for one in alternatives(path) for name in (glob.glob(one, recursive=True) if glob.has_magic(one) else [one])]
    return {one: one for one in several if not os.path.isdir(one)}


def _why(name: str, origin: RecordSource, known: Collection[str], *, chosen: bool) -> tuple[str, bool]:
    """Why a file is not taken, and whether nobody expects that.

    `known` are the words of folders from which something is taken, and `chosen` says whether the user chose one of several parts.
    """
    parts, last = name.lower().split(os.sep), os.path.basename(name)
    if any(part.startswith(".") or part in SYSTEM for part in parts) or last.endswith("~"):
        return HIDDEN, True
    if DOCUMENTS.fullmatch(last) or last == FOLDER_NAME or last.endswith(SUFFIX):
        return "words about the data", True
    if origin.is_no_data(name):
        return "no data by their names", True
    words = [_word(one) for one in (last.lower(), *parts[:-1])]
    part = next((one for one in words if (one in SPLITS or one == "t10k") and one not in known), None)
    if part is not None:
        return f"of another part ({part})" + ("" if chosen else ": convert it by itself"), chosen
    ending = os.path.splitext(last)[1].lower()
    return f"{ending} is not read here" if ending else "no ending says what it is", False


def _fields_of(origin: RecordSource, *, expected: bool) -> Iterator[AccountEntry]:
    """Fields that are not taken: all but those that were chosen, where some were."""
    reasons: dict[str, list[str]] = {}
    for name, why in origin.left_out.items():
        reasons.setdefault(why, []).append(name)
    for one in origin.omissions:
        if one.what == "field":
            yield left_out("field", one.why, one.names, count=one.count, expected=expected)
    for why, names in reasons.items():
        listed = ", ".join(f"'{clean(name)}'" for name in names[:MOST_SAID]) + (", ..." if len(names) > MOST_SAID else "")
        yield left_out("field", f"{listed} ({why})", names, expected=expected)


def _contents_of(origin: RecordSource, patterns: Sequence[str]) -> Iterator[AccountEntry]:
    """What lies in files that are read, and is not taken: members of containers, and records."""
    for one in origin.omissions:
        if one.what == "member" and origin.files is None:
            for expected in (False, True):
                names = [name for name in one.names if _why(name, origin, (), chosen=False)[1] == expected]
                count = None if expected else one.count - len(one.names) + len(names)
                yield from _split(one.what, names, one.why, patterns, count=count, expected=expected)
        elif one.what not in ("file", "field"):
            yield from _split(one.what, one.names, one.why, patterns, count=one.count, expected=one.why == HIDDEN)
