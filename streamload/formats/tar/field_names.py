"""What the fields of archives are called, by how their members end: each ending has a field, and no two share one by chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from streamload.formats.naming.image_names import SUFFIXES as IMAGES

CALLED = {"cls": "label"}
"""How fields are called that are called otherwise in archives."""


def short_name(ending: str) -> str:
    """The name of a field: "left" for left.jpg, "label" for cls."""
    name = ending.rpartition(".")[0] or ending
    return CALLED.get(name, name)


def field_names(files: Iterable[str], texts: Iterable[str], meet: Callable[[Iterable[str]], bool]) -> dict[str, str]:
    """The name of the field for each ending of members, the same for all records, whatever stands first in one.

    `files` are endings of members that are read when they are asked for, `texts` those of members that are held; `meet` says
    whether a record has two of some files. Images without a name of their own are "image" where no record has two. Files of one
    short name are one field where they take turns. Where two would share a name otherwise, the files keep it and the texts are
    called by their whole endings, as WebDataset calls them; so are all files where a record has two of them.
    """
    files = set(files)
    bare = {one for one in files if "." + one in IMAGES}
    names = {one: "image" if one in bare and not meet(bare) else short_name(one) for one in (*sorted(files), *texts)}
    while True:
        groups: dict[str, list[str]] = {}
        for ending, name in names.items():
            groups.setdefault(name, []).append(ending)
        shared = {name: group for name, group in groups.items() if len(group) > 1 and not (files.issuperset(group) and not meet(group))}
        if not shared:
            return names
        for name, group in shared.items():
            # An ending that is its own name keeps it, and the others give way.
            others = [one for one in group if one != name]
            names.update((one, one) for one in [one for one in others if one not in files] or others)
