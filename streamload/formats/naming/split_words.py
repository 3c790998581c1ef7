"""Words in names of files, folders and fields that say of which split something is: what is learnt from, and what is tested with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

ALIKE = (
    ("train", "training", "trn"),
    ("val", "valid", "validation", "dev"),
    ("test", "testing", "eval", "evaluation", "tst"),
)
"""Names of one split, which may be asked for by any of them: what is learnt from, what is chosen by, and what is tested with."""
SPLITS = tuple(word for words in ALIKE for word in words)
"""Words that tell splits apart."""

_NUMBERS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![a-z0-9])(?=[a-f]*[0-9])[0-9a-f]{8,}(?![a-z0-9])|[0-9]+")
"""What tells apart the files of one split: counted numbers, and those that are drawn or computed from what a file holds."""
_WORD = re.compile(rf"(?=({'|'.join(sorted(SPLITS, key=len, reverse=True))}))")
_ZEROS = str.maketrans("123456789", "000000000")
_PACKED = re.compile(r"\.(gz|bz2|xz|zst|lz4)$")

_Around = tuple[str, str, str]


def spaced(name: str) -> str:
    """A name in small letters, with a sign between the words that capitals told apart: mnistTrain, trainA."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def first_word(name: str) -> str:
    """The word of a split that a name begins with; "" for none."""
    word = re.split(r"[^a-z]", spaced(name), maxsplit=1)[0]
    return word if word in SPLITS else ""


def alike(split: str, names: Sequence[str]) -> list[str]:
    """The names that a split which is asked for could mean: its own, where it is there, else others for it."""
    others = next((words for words in ALIKE if split.lower() in words), ())
    return [split] if split in names else [name for name in names if name.lower() in others]


def split_words(paths: Sequence[str], *, asked: bool = False) -> list[str]:
    """The word that says of which split each path is, in its folders or its name; "" for none.

    That is the first word of a folder or file beside which another begins with another such word: in test_run/train.h5 beside
    test_run/val.h5, both are no test. Or a word anywhere in a name, where another name is the same but for that word and numbers:
    writers put the name of the set before it, as in imagenet-train-000000.tar, mnistTest.h5, shards_val/0.tar; flight_test_01 beside
    bus_train_01 are no splits. Or else the first word of any folder or file; and last, where there are splits or one is `asked` for,
    any word that stands by itself.
    """
    # What differs in digits alone is looked at once: there may be a hundred thousand parts of a few sets.
    alike = [_without_digits(path) for path in paths]
    distinct = list(dict.fromkeys(alike))
    words = dict(zip(distinct, _split_words(distinct, asked=asked), strict=True))
    return [words[path] for path in alike]


def _without_digits(path: str) -> str:
    """A path with zeros for the digits in the name of the file."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.translate(_ZEROS)}"


def _split_words(paths: Sequence[str], *, asked: bool) -> list[str]:
    parts = [path.split("/") for path in paths]
    beside: dict[str, set[str]] = {}
    for one in parts:
        for depth, part in enumerate(one):
            if word := first_word(part):
                beside.setdefault("/".join(one[:depth]), set()).add(word)
    within = [list(_within(one)) if _WORD.search(path.lower()) else [] for path, one in zip(paths, parts, strict=True)]
    told: dict[_Around, set[str]] = {}
    for word, around, _ in (one for some in within for one in some):
        told.setdefault(around, set()).add(word)
    some_are = asked or any(len(words) > 1 for words in told.values())
    return [_word_of(one, some, beside, told, loose=some_are) for one, some in zip(parts, within, strict=True)]


def _word_of(
    parts: Sequence[str],
    within: Sequence[tuple[str, _Around, bool]],
    beside: dict[str, set[str]],
    told: dict[_Around, set[str]],
    *,
    loose: bool,
) -> str:
    """The word that counts of a path: see `split_words`. `within` are those anywhere in it, `told` what stands around which words."""
    firsts = [(word, len(beside["/".join(parts[:depth])])) for depth, part in enumerate(parts) if (word := first_word(part))]
    wished = (
        *(word for word, count in firsts if count > 1),
        *(word for word, around, _ in within if len(told[around]) > 1),
        *(word for word, _ in firsts),
        *(word for word, _, alone in within if alone and loose),
    )
    return next(iter(wished), "")


def _within(parts: Sequence[str]) -> Iterator[tuple[str, _Around, bool]]:
    """Words of splits anywhere in a path, what stands around each but for numbers, and whether it stands by itself.

    What lies in a folder says nothing of how it is called.
    """
    for depth, part in enumerate(parts):
        name = _PACKED.sub("", spaced(part))
        above = "/".join(map(_bare, parts[:depth]))
        for found in _WORD.finditer(name):
            start, stop = found.span(1)
            alone = not name[start - 1 : start].isalpha() and not name[stop : stop + 1].isalpha()
            # A folder called key=value makes a field of the word, and mixes nothing unsaid.
            kind = part if "=" in part else "file" if depth == len(parts) - 1 else "folder"
            yield found[1], (f"{above}/{kind}", _bare(name[:start]), _bare(name[stop:])), alone


def _bare(text: str) -> str:
    """A text without numbers, and without the signs between words."""
    return re.sub(r"[\W\d_]+", " ", _NUMBERS.sub(" ", text.lower())).strip()
