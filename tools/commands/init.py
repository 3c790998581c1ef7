"""A training script for a file of the user's own: one of the examples, with the file's fields, shapes and classes."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from streamload.errors import ConfigError
from streamload.schema import BYTES, Field
from streamload.source import Source
from streamload.tools.commands.open_arguments import add_choice, add_decode, classes_at, fields_in, opened, options_said, pattern_of
from streamload.tools.console import GOOD, Console, clean, meant
from streamload.tools.convert.readers.decoded_images import image_names
from streamload.tools.trainable import IMAGE_SIZE, is_image, is_label

EXAMPLE = "streamload init train.h5 --framework torch"

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FRAMEWORKS = tuple(sorted(path.stem.removeprefix("train_") for path in EXAMPLES.glob("train_*.py")))
OPENED = "sl.open(given.path, (IMAGE, LABEL))"
"""Where an example opens it."""
CONSTANTS = re.compile(r'^# .*\nPATH = ".*"\nIMAGE, LABEL = ".*"\nCLASSES, SHAPE = .*$', re.MULTILINE)
"""What an example has to be told of a file."""
SHUFFLED = re.compile(r"(shuffle=True, )?seed=0\b")
"""How an example shuffles, where it opens a loader."""
OTHER_NAMES = {"pytorch": "torch", "sklearn": "scikit_learn", "scikit-learn": "scikit_learn", "tf": "tensorflow", "hf": "transformers"}
"""What frameworks are called as well."""
IMPORTED = re.compile(r"^(?:from|import) (\w+)", re.MULTILINE)
"""The modules that a script imports."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload init`."""
    parser.add_argument("path", metavar="PATH", help='a file, or a pattern such as "train-*.h5"')
    parser.add_argument("--framework", default="torch", metavar="NAME", help=", ".join(FRAMEWORKS))
    parser.add_argument("--image", metavar="FIELD", help="the input: the only field of images, unless named")
    parser.add_argument("--label", metavar="FIELD", help="the class: the only field of one integer, unless named")
    parser.add_argument("-o", "--output", metavar="FILE", help="the script (train_torch.py); - for the terminal")
    add_choice(parser)
    add_decode(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Write the script; nothing that exists is overwritten."""
    arguments.framework = OTHER_NAMES.get(arguments.framework.lower(), arguments.framework.lower())
    if arguments.framework not in FRAMEWORKS:
        raise ConfigError(f"--framework {arguments.framework} is not known.", hint=meant(arguments.framework, FRAMEWORKS))
    asked = arguments.decode
    script, about, in_order = script_for(arguments)
    sizes_differ = arguments.decode != asked
    where = arguments.output or f"train_{arguments.framework}.py"
    document = {"path": arguments.path, "script": where, "framework": arguments.framework, "trains": about, "decode": arguments.decode}
    document |= {"shuffled": not in_order}
    if where == "-":
        if not console.as_json:
            print(script, end="")
        console.answer(document | {"text": script})
        return GOOD
    _refuse_shadow(where, script)
    try:
        with open(where, "x", encoding="utf-8") as file:
            file.write(script)
    except FileExistsError as error:
        raise ConfigError(f"{where} exists already.", hint="Name another with --output, or remove it.") from error
    console.title(f"{clean(where)}: {clean(about)}")
    if sizes_differ:
        console.say(f"  images of different sizes are scaled and cut to {arguments.decode}; --decode HxW says another size")
    if in_order:
        convert = f"streamload convert {shlex.quote(arguments.path)} new.parquet --store keep"
        console.say(f"  records are read in the order in which they are stored: to shuffle them, `{convert}`, and a script for that file")
    console.say(f"  python {clean(where)}")
    console.answer(document)
    return GOOD


def script_for(arguments: argparse.Namespace) -> tuple[str, str, bool]:
    """The script, what it trains in a few words, and whether it reads records in the order in which they are stored, as it must."""
    source = _with_images(opened(arguments.path, arguments), arguments)
    try:
        image = _chosen(source, arguments.image, "image", "--image", is_image)
        label = _chosen(source, arguments.label, "label", "--label", is_label)
        words = classes_at(arguments.path, source).get(label.name)
        classes = _classes(source, label.name, len(words or ()), named=arguments.label is not None)
        in_order = source.forward_only
    finally:
        source.close()
    told = (
        f"# Written by `streamload init --framework {arguments.framework}`.\n"
        f"PATH = {_quoted(pattern_of(arguments.path))}\n"
        f"IMAGE, LABEL = {_quoted(image.name)}, {_quoted(label.name)}\n"
        f"CLASSES, SHAPE = {classes}, {image.shape}"
    )
    example = (EXAMPLES / f"train_{arguments.framework}.py").read_text(encoding="utf-8")
    script, count = CONSTANTS.subn(lambda _: told, example)
    if (count, script.count(OPENED)) != (1, 1):
        raise ConfigError(f"the example for {arguments.framework} is not as it was installed.", hint="Install streamload anew.")
    script = script.replace(OPENED, _call(arguments, image.name, label.name))
    about = f"{image.name} {image.shape} to {classes} classes of {label.name}, with {arguments.framework}"
    return (SHUFFLED.sub("shuffle=False", script), about, True) if in_order else (script, about, False)


def _with_images(source: Source, arguments: argparse.Namespace) -> Source:
    """The source; where all its images are of different sizes and nobody says how to decode them, opened anew, scaled to IMAGE_SIZE."""
    if arguments.decode is not None or any(map(is_image, source.schema)):
        return source
    if not any(source.schema[name].ragged for name in image_names(source)):
        return source
    source.close()
    arguments.decode = f"{IMAGE_SIZE[0]}x{IMAGE_SIZE[1]}"
    return opened(arguments.path, arguments)


def _refuse_shadow(where: str, script: str) -> None:
    """Raise ConfigError where a script would be imported in place of a module that it needs, as torch.py would."""
    name = Path(where).stem
    if name in IMPORTED.findall(script):
        raise ConfigError(
            f"{where} would be imported in place of the module {name!r}, which the script needs.",
            hint=f"Give it another name: --output train_{name}.py.",
        )


def _call(arguments: argparse.Namespace, image: str, label: str) -> str:
    """The call that opens these two fields as the arguments say."""
    stored = {name: name for name in (image, label)} | (fields_in(arguments.fields) or {})
    fields = f"{{IMAGE: {_quoted(stored[image])}, LABEL: {_quoted(stored[label])}}}"
    if (stored[image], stored[label]) == (image, label):
        fields = "(IMAGE, LABEL)"
    told = argparse.Namespace(**vars(arguments))
    for argument in ("shape", "fill"):  # Of fields that are not opened nothing may be said.
        setattr(told, argument, [one for one in getattr(arguments, argument) if one.partition("=")[0] in (image, label)])
    return f"sl.open(given.path, {fields}{options_said(told)})"


def _quoted(text: str) -> str:
    """A text as Python has it, with the quotes of the examples where it holds none."""
    return f'"{text}"' if repr(text) == f"'{text}'" and '"' not in text else repr(text)


def _chosen(source: Source, name: str | None, meaning: str, option: str, fits: Any) -> Field:
    """The field that is meant: the one that was named, or the only one that fits."""
    fitting = [field for field in source.schema if fits(field)]
    if name is not None:
        named = [field for field in fitting if field.name == name]
        if named:
            return named[0]
        raise ConfigError(f"{option} {name} cannot be the {meaning} that a script trains on.", hint=_wanted(source))
    fitting = [field for field in fitting if field.dtype.kind != "b"] or fitting
    if len(fitting) == 1:
        return fitting[0]
    preferred = [field for field in fitting if field.name == meaning]
    if preferred:
        return preferred[0]
    if fitting:
        raise ConfigError(
            f"{len(fitting)} fields could be the {meaning}: {', '.join(field.name for field in fitting)}.", hint=f"Name one with {option}."
        )
    raise ConfigError(f"no field can be the {meaning} that a script trains on.", hint=_wanted(source))


def _wanted(source: Source) -> str:
    """What would do, and how to come by it."""
    wanted = (
        "Scripts are for images with classes: the image uint8 of shape (height, width, channels), 16 x 16 or larger, the label one "
        f"integer or bool; here are {source.schema}."
    )
    if any(field.ragged == BYTES for field in source.schema):
        wanted += " Encoded images of several sizes are scaled to one by --decode 64x64."
    return f"{wanted} `streamload plan` prints a Loader call for fields of any kind."


def _classes(source: Source, name: str, words: int, *, named: bool) -> int:
    """How many classes a label has: one more than its largest value, or as many as have names (`words`); at least 2.

    Raises ConfigError for labels below 0, for no records, and for a field that nothing but its type speaks for (the user has not `named`
    it, it is not called "label", and classes have no names) and that holds one value only.
    """
    if not len(source):
        raise ConfigError("the file has no records.", hint="Give one that has some.")
    least, largest = sys.maxsize, 0
    for _, taken in source.scan([name]):
        labels = taken[name]
        least, largest = min(least, int(labels.min())), max(largest, int(labels.max()))
        if least < 0:
            raise ConfigError(
                f"the field {name!r} holds {least}, and classes are numbered from 0.", hint="Name another field with --label."
            )
    if least == largest and not words and not named and name != "label" and len(source) > 1:
        raise ConfigError(
            f"the only field that could be the label, {name!r}, holds {least:,} in all {len(source):,} records, so it names no classes.",
            hint=f"Name another field with --label, or this one, --label {name}, if it is meant all the same.",
        )
    return max(largest + 1, words, 2)
