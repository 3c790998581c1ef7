"""Every compiled kernel of augmentation gives what its plain twin gives: to the bit."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from augment_cases import WORDS, both, halves, images, runners, steps_of

from streamload import kernels
from streamload.errors import ResourceError
from streamload.kernels import augment
from streamload.kernels.augment.frame import FRAME_WORDS
from streamload.kernels.augment.plain import run as run_plain
from streamload.kernels.augment.runners import PixelFormat


def box_of(rng: np.random.Generator, height: int, width: int) -> list[float]:
    """Some box of an image, or all of it."""
    if rng.integers(4) == 0:
        return [0, 0, width, height]
    x0, y0 = rng.uniform(0, width - 0.5), rng.uniform(0, height - 0.5)
    return [x0, y0, rng.uniform(x0 + 0.5, width), rng.uniform(y0 + 0.5, height)]


def test_a_crop_reaches_outside_in_every_mode_and_turns_eight_ways() -> None:
    rng = np.random.default_rng(0)
    for image, planar, n, height, width in images(rng, 160):
        h, w = (int(side) for side in rng.integers(1, 60, 2))
        y, x = int(rng.integers(-40, height + 20)), int(rng.integers(-40, width + 20))
        crop = [y, x, h, w, rng.integers(8), rng.integers(4), *rng.integers(0, 256, n)]
        ours, plain = both(image, [("crop", crop), ("uint8_chw", [0] * 2 * n)], out=(n, h, w), planar=planar)
        assert np.array_equal(ours, plain), crop


def test_rows_of_colour_that_reach_outside_by_any_number_of_pixels() -> None:
    """Rows are written in vectors that overlap their neighbours: every byte is right all the same, and none beyond is touched."""
    rng = np.random.default_rng(8)
    for turn in range(300):
        height, width = int(rng.integers(1, 12)), int(rng.choice([31, 32, 33, 40, 70]))
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        h, w = int(rng.integers(1, 12)), int(rng.choice([32, 33, 45, 64, 100]))
        y, x = int(rng.integers(-h, height + 1)), int(rng.integers(-w, width + 1))
        crop = [y, x, h, w, turn % 4, turn // 4 % 4, *rng.integers(0, 256, 3)]
        ours, plain = both(image, [("crop", crop), ("uint8_chw", [0] * 6)], out=(3, h, w))
        assert np.array_equal(ours, plain), crop


@pytest.mark.parametrize("kernel", ["bilinear", "filtered"])
def test_resampling_of_any_box_to_any_size(kernel: str) -> None:
    rng = np.random.default_rng(1)
    for turn, (image, planar, n, height, width) in enumerate(images(rng, 72)):
        h, w = (int(side) for side in rng.integers(1, 70, 2))
        given = [*box_of(rng, height, width), h, w, rng.integers(8), turn % 4 != 0]
        given += [turn % 3] if kernel == "filtered" else []
        ours, plain = both(image, [(kernel, given), ("uint8_chw", [0] * 2 * n)], out=(n, h, w), planar=planar)
        assert np.array_equal(ours, plain), given


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8", "f4"])
@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_nearest_neighbours_of_elements_of_any_size(dtype: str, layout: str) -> None:
    rng = np.random.default_rng(2)
    for turn, (image, planar, n, height, width) in enumerate(images(rng, 40, dtype=dtype)):
        h, w = (int(side) for side in rng.integers(1, 60, 2))
        x0, y0 = (int(side) for side in rng.integers(-20, 30, 2))
        box = [x0, y0, x0 + w, y0 + h] if turn % 2 else box_of(rng, height, width)
        given = [*box, h, w, rng.integers(8), rng.integers(4), turn // 2 % 2, *halves(7, n)]
        ours, plain = both(image, [("nearest", given), (f"elements_{layout}", [])], out=(n * h * w,), dtype=dtype, planar=planar)
        assert np.array_equal(ours, plain), given


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8"])
def test_free_maps(dtype: str) -> None:
    rng = np.random.default_rng(3)
    for image, planar, n, _, _ in images(rng, 30, dtype=dtype):
        h, w = (int(side) for side in rng.integers(1, 60, 2))
        inverse = rng.normal(0, 1, 6) * [1, 1, 8, 1, 1, 8]
        nearest = ("affine_nearest", [*inverse, h, w, *halves(9, n)])
        ours, plain = both(image, [nearest, ("elements_chw", [])], out=(n, h, w), dtype=dtype, planar=planar)
        assert np.array_equal(ours, plain), inverse
        if dtype == "u1":
            wanted = [("affine", [*inverse, h, w, *rng.integers(0, 256, n)]), ("uint8_chw", [0] * 2 * n)]
            ours, plain = both(image, wanted, out=(n, h, w), planar=planar)
            assert np.array_equal(ours, plain), inverse


CURVE = np.random.default_rng(9).integers(0, 256, 256, np.uint8).view(np.float64)
COLORS = {
    "brightness": lambda rng, n: [rng.uniform(0, 2)],
    "contrast": lambda rng, n: [rng.uniform(0, 2)],
    "saturation": lambda rng, n: [rng.uniform(0, 2)],
    "hue": lambda rng, n: [rng.uniform(-0.5, 0.5)],
    "grayscale": lambda rng, n: [n],
    "sharpness": lambda rng, n: [rng.uniform(0, 3)],
    "gaussian_blur": lambda rng, n: [3, 5, 0.25, 0.5, 0.25, 0.1, 0.2, 0.4, 0.2, 0.1],
    "permute_channels": lambda rng, n: rng.permutation(n),
    "curve": lambda rng, n: rng.integers(0, 256, 256, np.uint8).view(np.float64),
    "equalize": lambda rng, n: [],
    "autocontrast": lambda rng, n: [],
}


@pytest.mark.parametrize("kernel", COLORS)
@pytest.mark.parametrize("pending", [False, True], ids=["on levels", "after a curve"])
def test_colour(kernel: str, pending: bool) -> None:
    rng = np.random.default_rng(4)
    for image, planar, n, height, width in images(rng, 25, least=4):
        if n not in (1, 3) and kernel not in ("permute_channels", "curve", "equalize", "autocontrast", "gaussian_blur"):
            continue
        if n == 1 and kernel in ("saturation", "hue"):
            continue
        first = [("crop", [0, 0, height, width, 0, 0, *[0] * n])] + ([("curve", CURVE)] if pending else [])
        given = COLORS[kernel](rng, n)
        ours, plain = both(image, [*first, (kernel, given), ("uint8_chw", [0] * 2 * n)], out=(n, height, width), planar=planar)
        assert np.array_equal(ours, plain), given


OTHER_PROCESSOR = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from augment_cases import both
from streamload import kernels
kernels.use(compiled=True)
from streamload.kernels.augment import curves
assert not curves.FAST_TABLES
image = np.random.default_rng(0).integers(0, 256, (20, 33, 3), np.uint8)
curve = np.random.default_rng(1).integers(0, 256, 256, np.uint8).view(np.float64)
several = [("contrast", [0.6]), ("brightness", [0.7]), ("curve", curve), ("contrast", [1.7])]
for steps in ([("brightness", [1.3])], [("curve", curve)], several):
    found = both(image, [("nearest", [0, 0, 33, 20, 20, 33, 0, 0, 1, *[0] * 6]), *steps, ("uint8_chw", [0] * 6)], out=(3, 20, 33))
    assert np.array_equal(*found), steps
"""


def test_processors_without_fast_tables_give_the_same(tmp_path: Path) -> None:
    """What is compiled for the least of processors equals the plain kernels, too."""
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "STREAMLOAD_CACHE_DIR": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", OTHER_PROCESSOR, str(Path(__file__).parent)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_the_last_step_and_what_is_erased(dtype: str, layout: str) -> None:
    """To the bit, streamed past the caches or not, and no byte beyond."""
    rng = np.random.default_rng(5)
    nbytes = {"float32": 4, "uint8": 1}.get(dtype, 2)
    for turn, (image, planar, n, height, width) in enumerate(images(rng, 30)):
        h, w = (8, 16) if turn % 3 == 0 else (height, width)
        scale = np.concatenate([rng.uniform(0.01, 0.02, n), rng.uniform(-2, 2, n)])
        wanted = [("crop", [0, 0, h, w, 0, 1, *[0] * n]), (f"{dtype}_{layout}", scale)]
        if turn % 2:
            wanted.append(("erase", [h // 3, w // 4, h - h // 3, w - w // 4, nbytes, layout == "hwc", *rng.integers(0, 256, n)]))
        out = (h * w * n * nbytes + 64,)
        ours, plain = both(image, wanted, out=out, planar=planar, past_caches=turn % 4 < 2)
        assert np.array_equal(ours, plain)
        assert not ours[-64:].any()


@pytest.mark.parametrize("dtype", ["u2", "i2", "f2", "f4"])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float16", "bfloat16", "float32"])
def test_images_of_other_dtypes_go_through_floats(dtype: str, kind: str) -> None:
    """Boxes with every filter and edge, free maps, and every dtype out; a second pass works on what the first made."""
    rng = np.random.default_rng(7)
    nbytes = {"uint8": 1, "float32": 4}.get(kind, 2)
    for turn, (image, planar, n, height, width) in enumerate(images(rng, 24, dtype=dtype)):
        image = image * np.asarray(37, image.dtype) if turn % 2 else image
        h, w = (int(side) for side in rng.integers(1, 40, 2))
        which = int(rng.integers(-1, 5))
        y, x = int(rng.integers(-9, height)), int(rng.integers(-9, width))
        box = [x, y, x + w, y + h] if which < 0 else box_of(rng, height, width)
        fills = rng.integers(0, 256, n)
        first = ("float_box", [*box, h, w, rng.integers(8), turn % 3 != 0, which, rng.integers(4), *fills])
        if turn % 4 == 3:
            first = ("float_affine", [*(rng.normal(0, 1, 6) * [1, 1, 8, 1, 1, 8]), h, w, turn % 8 == 3, *fills])
        second = ("float_affine", [1, 0.2, 1, -0.1, 1, 0, 9, 8, turn % 2, *fills])
        scale = np.concatenate([rng.uniform(0.01, 2, n), rng.uniform(-2, 2, n)])
        wanted = [first, second, (f"float_{'chw' if turn % 2 else 'hwc'}", scale)]
        ours, plain = both(image, wanted, out=(n * 72 * nbytes,), planar=planar, kind=kind)
        assert np.array_equal(ours, plain), wanted


def test_draws_are_those_of_version_1() -> None:
    """Golden: what was drawn once is drawn for ever, compiled or not."""
    records, words = np.array([0, 1, 2**40 + 3]), np.arange(1, 9, dtype=np.uint32)
    for draw in (kernels.draw_kernel(), run_plain.draw):
        out = np.empty((3, 2), np.uint32)
        draw(words, records, 256, 1, out)
        assert out.tolist() == GOLDEN_DRAWS


GOLDEN_DRAWS = [[2869101350, 1327804258], [2374264981, 1151860305], [2814853342, 1632351025]]


def test_every_kernel_has_a_twin() -> None:
    assert {name: callable(augment.plain_kernel(name)) for name in augment.MODULES} == dict.fromkeys(augment.MODULES, True)
    assert FRAME_WORDS >= 18


def test_functions_of_several_kinds_have_names_of_their_own() -> None:
    """Code out of the cache meets in one process by its symbols: two functions of one name would become one."""
    found: dict[tuple[str, str], set[int]] = {}
    left = [thing for name in set(augment.MODULES.values()) for thing in vars(import_module(f"{augment.__name__}.{name}")).values()]
    seen: set[int] = set()
    while left:
        function = left.pop()
        function = getattr(function, "py_func", function)
        if id(function) in seen or not hasattr(function, "__code__") or not function.__module__.startswith(augment.__name__):
            continue
        seen.add(id(function))
        found.setdefault((function.__module__, function.__qualname__), set()).add(id(function))
        left += [cell.cell_contents for cell in function.__closure__ or ()]
    assert ("streamload.kernels.augment.output", "make_plane.<locals>.plane_float16") in found
    assert {name for name, functions in found.items() if len(functions) > 1} == set()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems give memory that they have not")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # What numba makes of the one that it loads itself.
@pytest.mark.parametrize("name", ["nearest", "float_affine"])
def test_a_kernel_that_gets_no_memory_ends_the_batch_with_an_error(name: str) -> None:
    """Whichever loads it; the runner works again once there is some."""
    resource = pytest.importorskip("resource")
    height = 1 << 24
    image = np.zeros((height, 1, 1), np.uint8)
    given = {"nearest": [0, 0, 1, height, height, 1, 0, 0, 1, 0, 0], "float_affine": [1, 0, 0, 0, 1, 0, height, 1, 1, 0]}
    records = np.array([[image.ctypes.data, height, 1, 0, 0]], np.int64)
    form = PixelFormat(dtype=image.dtype, channels=1, planar=False, plane_nbytes=4, out_nbytes=0)
    steps = steps_of([(name, given[name])], elements=height)
    work = runners()[0].prepared(steps, records, form, words=WORDS, past_caches=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), hard))
    try:
        said = "^augmenting 16777216 x 1 elements needs memory, and the system does not give it. Lower `memory=` or num_workers, or free"
        with pytest.raises(ResourceError, match=said) as caught:
            work(0, 1)
        assert caught.value.errno == errno.ENOMEM
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    work(0, 1)
