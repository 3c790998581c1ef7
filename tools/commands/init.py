"""A training script for a file of the user's own: one of the examples, with the file's fields, shapes and classes."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import streamload
from streamload.errors import ConfigError
from streamload.schema import Field
from streamload.source import Source
from streamload.tools.commands.open_arguments import add_decode, classes_at, converted, decode_in, opened
from streamload.tools.console import GOOD, Console, clean, meant
from streamload.tools.convert.readers.decoded_images import image_names
from streamload.tools.convert.readers.library import LibraryRecords
from streamload.tools.convert.record_source import batch_records
from streamload.tools.trainable import IMAGE_SIZE, is_image, is_label

EXAMPLE = "streamload init train.h5 --framework torch"

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FRAMEWORKS = tuple(sorted(path.stem.removeprefix("train_") for path in EXAMPLES.glob("train_*.py")))
CONSTANTS = re.compile(r'^PATH = ".*"\nIMAGE, LABEL = ".*"\nCLASSES, SHAPE = .*$', re.MULTILINE)
"""What an example has to be told of a file."""
OPENS = "sl.open(given.path"
"""How an example opens it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload init`."""
    parser.add_argument("path", metavar="PATH", help='a file, or a pattern such as "train-*.h5"')
    parser.add_argument("--framework", default="torch", metavar="NAME", help=", ".join(FRAMEWORKS))
    parser.add_argument("--image", metavar="FIELD", help="the input: the only field of images, unless named")
    parser.add_argument("--label", metavar="FIELD", help="the class: the only field of one integer, unless named")
    add_decode(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="the script (train_torch.py); - for the terminal")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Write the script; nothing that exists is overwritten."""
    if arguments.framework not in FRAMEWORKS:
        raise ConfigError(f"--framework {arguments.framework} is not known.", hint=meant(arguments.framework, FRAMEWORKS))
    script, about = script_for(arguments)
    where = arguments.output or f"train_{arguments.framework}.py"
    if where == "-":
        print(script, end="")
        return GOOD
    try:
        with open(where, "x") as file:
            file.write(script)
    except FileExistsError as error:
        raise ConfigError(f"{where} exists already.", hint="Name another with --output, or remove it.") from error
    console.title(f"{clean(where)}: {clean(about)}")
    console.say(f"  python {clean(where)}")
    console.answer({"path": arguments.path, "script": where, "framework": arguments.framework})
    return GOOD


def script_for(arguments: argparse.Namespace) -> tuple[str, str]:
    """The script, and what it trains in a few words."""
    choice = argparse.Namespace(path=arguments.path, fields=None, shape=[], record_axis=None, decode=arguments.decode)
    source, size = opened(arguments.path, choice), decode_in(arguments.decode)
    try:
        differing = [name for name in image_names(source) if source.schema[name].ragged]
        if differing and size is None:
            source.close()
            size, choice.decode = IMAGE_SIZE, f"{IMAGE_SIZE[0]}x{IMAGE_SIZE[1]}"
            source = opened(arguments.path, choice)
        image = _chosen(source, arguments.image, "image", "--image", is_image)
        label = _chosen(source, arguments.label, "label", "--label", is_label)
        words = classes_at(arguments.path, source).get(label.name)
    finally:
        source.close()
    with streamload.open(converted(arguments.path), [label.name]) as labels:
        classes = _classes(labels, label.name, len(words or ()))
    # Python's own quoting, with the quotes of the examples.
    path, first, second = (f'"{text}"' if repr(text) == f"'{text}'" else repr(text) for text in (arguments.path, image.name, label.name))
    told = f"PATH = {path}\nIMAGE, LABEL = {first}, {second}\nCLASSES, SHAPE = {classes}, {image.shape}"
    example = (EXAMPLES / f"train_{arguments.framework}.py").read_text()
    script, count = CONSTANTS.subn(lambda _: told, example)
    if count != 1:
        raise ConfigError(f"the example for {arguments.framework} says its constants {count} times.", hint="Install streamload anew.")
    if size:
        script = script.replace(OPENS, f"{OPENS}, decode={{IMAGE: {size}}}")
    return script, f"{image.name} {image.shape} to {classes} classes of {label.name}, with {arguments.framework}"


def _chosen(source: Source, name: str | None, meaning: str, option: str, fits: Any) -> Field:
    """The field that is meant: the one that was named, or the only one that fits."""
    fitting = [field for field in source.schema if fits(field)]
    if name is not None:
        named = [field for field in fitting if field.name == name]
        if named:
            return named[0]
        raise ConfigError(f"{option} {name} cannot be the {meaning} of an example.", hint=_wanted(source))
    if len(fitting) == 1:
        return fitting[0]
    preferred = [field for field in fitting if field.name == meaning]
    if preferred:
        return preferred[0]
    if fitting:
        raise ConfigError(
            f"{len(fitting)} fields could be the {meaning}: {', '.join(field.name for field in fitting)}.", hint=f"Name one with {option}."
        )
    raise ConfigError(f"no field can be the {meaning} of an example.", hint=_wanted(source))


def _wanted(source: Source) -> str:
    return (
        f"An image is uint8 of shape (height, width, channels), 16 x 16 or larger, a label one integer; here are {source.schema}. "
        "--decode 224x224 gives encoded images one size."
    )


def _classes(source: Source, name: str, named: int) -> int:
    """One more than the largest label there is, or as many as have names. Raises ConfigError for labels below 0, and for no records."""
    if not len(source):
        raise ConfigError("the file has no records.", hint="Give one that has some.")
    each, largest = batch_records(LibraryRecords(source)), -1
    for start in range(0, len(source), each):
        labels = source[start : min(len(source), start + each)][name]
        if labels.min() < 0:
            raise ConfigError(
                f"the field {name!r} holds {labels.min()}, and classes are numbered from 0.", hint="Name another field with --label."
            )
        largest = max(largest, int(labels.max()))
    return max(largest + 1, named)
