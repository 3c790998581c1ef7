"""`streamload bench --augment`: the user's own images, augmented here and by other libraries, which are named where they are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import answer, arrays, hdf5_file

import streamload as sl
from streamload.errors import ConfigError
from streamload.tools.benchmark.augmented import LIBRARIES, chosen_libraries
from streamload.tools.chain_file import chain_in, first_augment, of_images_alone

CHAIN = """
import streamload as sl
AUGMENT = [
    sl.Augment("image", sl.RandomCrop(6), sl.RandomFlip(), layout="CHW", dtype="float32", masks="mask", views=2),
    sl.MixUp(0.2, num_classes=10),
]
OTHER = 5
PLAIN = sl.Augment("image", sl.RandomCrop(6), sl.RandomRotate90(), layout="CHW", dtype="float16")
"""


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    (tmp_path / "chain.py").write_text(CHAIN)
    return tmp_path / "chain.py"


def test_the_images_alone_are_compared(chain: Path) -> None:
    """Without what only some libraries can be asked for."""
    augment = of_images_alone(first_augment(chain_in(str(chain))), "picture")
    assert augment == sl.Augment("picture", sl.RandomCrop(6), sl.RandomFlip(), layout="CHW", dtype="float32")
    with pytest.raises(ConfigError, match="there is no Augment in it"):
        first_augment(chain_in(f"{chain}:OTHER"))
    with pytest.raises(ConfigError, match="has no WHAT"):
        chain_in(f"{chain}:WHAT")


def test_which_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen_libraries(None) == chosen_libraries("all") == list(LIBRARIES)
    assert chosen_libraries("none, torchvision") == ["none", "torchvision"]
    with pytest.raises(ConfigError, match="--contenders torchvison is not known beside --augment"):
        chosen_libraries("torchvison")


@pytest.mark.slow
def test_a_pass_augments_and_others_stand_beside_it(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What runs says how fast it is; a library that cannot be had, or that has no such operation, is left out by name."""
    path = hdf5_file(tmp_path / "train.h5", arrays(200))
    words = ("bench", path, "--workers", "0", "--seconds", "0.1", "--batch", "32", "--augment", f"{chain}:PLAIN")
    code, document = answer(capsys, *words)
    assert code == 0
    assert document["passes"][0]["used_nbytes"] % (6 * 6 * 3 * 2 + 8) == 0
    found = {one["name"]: one for one in document["contenders"]}
    assert list(found) == list(LIBRARIES.values())
    beside = found["streamload, no augmentation"]
    assert beside["rate"] > 0
    assert beside["our_rate"] > 0
    assert "times as many" in beside["text"]
    for name in ("torchvision v2 in PyTorch", "albumentations in PyTorch"):
        missing = found[name]["missing"]
        assert missing.startswith(f"{name} is left out: ")
        assert "is not installed" in missing or "has no RandomRotate90" in missing


def test_what_cannot_be_compared_is_said(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "a.npz", image=np.zeros((20, 8, 8, 3), np.uint16), label=np.arange(20))
    code, document = answer(capsys, "bench", tmp_path / "a.npz", "--workers", "0", "--seconds", "0.1", "--augment", f"{chain}:PLAIN")
    assert code != 0
    assert "other libraries are given arrays of uint8 here" in document["error"]["message"]
