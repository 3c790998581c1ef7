"""PyTorch loops: tensors that share a batch's memory, resumed to the bit, whatever the fields are."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from framework_data import BATCH, NUMBERS, RECORDS, STEPS, WIDTH, expected, loader_of, values, write
from PIL import Image

import streamload as sl

torch = pytest.importorskip("torch")

FORMS = pytest.mark.parametrize("dataloader", [False, True], ids=["loop", "DataLoader"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """1,003 records."""
    return write(tmp_path / "data.h5")


@FORMS
def test_a_loop_gets_each_record_once_in_the_loaders_order(path: Path, dataloader: bool) -> None:
    """Three passes are three epochs, of tensors with the bytes of the file."""
    x, _ = values()
    with loader_of(path, num_workers=2) as loader:
        batches = sl.for_torch(loader, ("x", "number"), dataloader=dataloader)
        assert len(batches) == STEPS
        passes = []
        for _ in range(3):
            passes.append([])
            for inputs, numbers in batches:
                assert inputs.dtype == torch.float32
                assert np.array_equal(inputs.numpy(), x[numbers.numpy()])
                passes[-1].append(numbers.tolist())
    assert passes == expected(path, 3)
    assert sorted(number for batch in passes[0] for number in batch) == list(range(RECORDS))


def test_fields_come_as_a_dict_a_tuple_or_one(path: Path) -> None:
    """None gives a dict of all; names a tuple; a name a tensor."""
    with loader_of(path) as loader:
        first = next(iter(sl.for_torch(loader)))
        assert type(first) is dict
        assert {name: (one.dtype, tuple(one.shape)) for name, one in first.items()} == {
            "x": (torch.float32, (BATCH, WIDTH)),
            "number": (torch.int64, (BATCH,)),
        }
        assert [type(one) for one in next(iter(sl.for_torch(loader, ["number"])))] == [torch.Tensor]
        assert next(iter(sl.for_torch(loader, "number"))).shape == (BATCH,)
        numbers, valid = next(iter(sl.for_torch(loader, ("number", "valid"))))
        assert valid.dtype == torch.bool
        assert valid.shape == numbers.shape
        assert valid.all()


def test_tensors_share_the_batchs_memory_and_outlive_the_loader(path: Path) -> None:
    """No copy; writable; as they are after the loader has gone."""
    with loader_of(path, num_workers=1) as loader:
        batches = iter(sl.for_torch(loader, ("x", "number")))
        held = next(batches)
        seen = [one.clone() for one in held]
        next(batches), next(batches)
        assert loader.stats.copies == 0
    del batches, loader
    gc.collect()
    assert all(torch.equal(one, there) for one, there in zip(held, seen, strict=True))
    held[0].mul_(2)
    assert torch.equal(held[0], seen[0] * 2)


def test_a_view_of_a_tensor_keeps_the_batch(path: Path) -> None:
    """Three epochs go by while nothing but a part of it, turned, is held."""
    x, _ = values()
    with loader_of(path, num_workers=1, shuffle=False) as loader:
        batches = sl.for_torch(loader, ("x", "number"))
        begun = iter(batches)
        held = next(begun)[0][3:5].T[::2]
        for _ in range(3):
            for inputs, numbers in batches:
                assert np.array_equal(inputs.numpy(), x[numbers.numpy()])
            assert np.array_equal(held.numpy(), x[3:5].T[::2])
        assert loader.stats.copies == 0
    assert np.array_equal(held.numpy(), x[3:5].T[::2])


def test_no_byte_is_copied_without_workers(path: Path) -> None:
    """Where a batch's own array is at hand, the tensor has its address."""
    with loader_of(path) as loader:
        from streamload.frameworks.fields import chosen_fields
        from streamload.frameworks.torch_form import TorchForm

        form = TorchForm(chosen_fields(loader, "x", asked=""), device=torch.device("cpu"), pin_memory=True, channels_first=frozenset())
        batch = next(iter(loader))
        assert form.finish(form.begin(batch)).data_ptr() == batch["x"].__array_interface__["data"][0] or torch.cuda.is_available()


def test_channels_first_is_a_view(tmp_path: Path) -> None:
    """(height, width, channels) becomes (channels, height, width), in the same memory; other fields stay."""
    images = np.random.default_rng(0).integers(0, 256, (RECORDS, 4, 5, 3), dtype=np.uint8)
    path = write(tmp_path / "data.h5", image=images)
    with loader_of(path) as loader:
        for asked in (True, ("image",), "image"):
            image, x, number = next(iter(sl.for_torch(loader, ("image", "x", "number"), channels_first=asked)))
            assert image.shape == (BATCH, 3, 4, 5)
            assert image.is_contiguous(memory_format=torch.channels_last)
            assert np.array_equal(image.permute(0, 2, 3, 1).numpy(), images[number.numpy()])
            assert x.shape == (BATCH, WIDTH)
        for asked, text in ((("x",), "asked for 'x', which is no field of shape"), (True, "finds no images")):
            fields = ("x", "number") if asked is True else None
            with pytest.raises(sl.ConfigError, match=text):
                sl.for_torch(loader, fields, channels_first=asked)


def test_images_that_are_bytes_have_no_channels(tmp_path: Path) -> None:
    """Those of different sizes are to be decoded to one; what has no images at all is told to leave channels_first out."""
    for number in range(3):
        (tmp_path / "photos" / "a").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 18)).save(tmp_path / "photos" / "a" / f"{number}.png")
    cure = "Images that are stored as bytes become arrays of one size by sl.open(path, decode=(224, 224))."
    for asked in (True, "image", ("image",)):
        with sl.Loader(sl.open(tmp_path / "photos"), batch_size=2, num_workers=0) as loader, pytest.raises(sl.ConfigError) as caught:
            sl.for_torch(loader, ("image", "label"), channels_first=asked)
        assert caught.value.hint == cure
        with sl.Loader(sl.open(tmp_path / "photos", decode=(224, 224)), batch_size=2, num_workers=0) as loader:
            image, _ = next(iter(sl.for_torch(loader, ("image", "label"), channels_first=asked)))
            assert image.shape == (2, 3, 224, 224)
    with loader_of(write(tmp_path / "data.h5")) as loader, pytest.raises(sl.ConfigError, match="Leave it out: no field has that shape"):
        sl.for_torch(loader, channels_first=("x",))


def test_every_number_keeps_its_dtype(tmp_path: Path) -> None:
    """Each as it is stored, with the same bytes: nothing is narrowed."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**62, (70, 2)) * 3
    reals = rng.normal(size=(70, 2)) * 1_000
    arrays = {dtype: (bits if np.dtype(dtype).kind in "biu" else reals).astype(dtype) for dtype in NUMBERS}
    with h5py.File(tmp_path / "data.h5", "w") as file:
        for dtype, array in arrays.items():
            file.create_dataset(dtype, data=array)
    with loader_of(tmp_path / "data.h5", shuffle=False) as loader:
        first = next(iter(sl.for_torch(loader)))
        for dtype, array in arrays.items():
            assert str(first[dtype].dtype) == f"torch.{dtype}"
            assert first[dtype].numpy().tobytes() == array[:BATCH].tobytes()


def test_floats_of_sixteen_and_eight_bits(path: Path) -> None:
    """What NumPy has from ml_dtypes alone becomes what PyTorch has under the same name, without a copy; with the same bits."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    from streamload.frameworks.fields import SHORT_FLOATS

    x, _ = values()
    for name in sorted(SHORT_FLOATS):
        dtype = np.dtype(getattr(ml_dtypes, name))

        def narrow(record: dict[str, Any], dtype: np.dtype = dtype) -> dict[str, Any]:
            return {"x": np.abs(record["x"]).astype(dtype)}

        with loader_of(path, shuffle=False, transform=narrow) as loader:
            for one, start in zip(sl.for_torch(loader, "x"), range(0, RECORDS, BATCH), strict=True):
                assert one.dtype == getattr(torch, name)
                kept = np.abs(x[start : start + BATCH]).astype(dtype)
                assert one.view(torch.int16 if dtype.itemsize == 2 else torch.int8).numpy().tobytes() == kept.tobytes()
                assert torch.equal(one.float(), torch.from_numpy(kept.astype(np.float32)))


def test_text_bytes_and_ragged_arrays(tmp_path: Path) -> None:
    """Lists of str and bytes, and nested tensors that share memory."""
    words = [f"é{'x' * (k % 5)}" for k in range(100)]
    tokens = [np.arange(k % 4, dtype=np.int32) + k for k in range(100)]
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("word", data=words, dtype=h5py.string_dtype())
        file.create_dataset("code", data=np.array([f"c{k}".encode() for k in range(100)], "S4"))
        ragged = file.create_dataset("tokens", (100,), h5py.vlen_dtype(np.int32))
        for k, one in enumerate(tokens):
            ragged[k] = one
    with loader_of(tmp_path / "data.h5", shuffle=False) as loader:
        for device in (None, "cpu", "meta"):
            first = next(iter(sl.for_torch(loader, device=device)))
            assert first["word"] == words[:BATCH] or device == "meta"
            assert first["code"] == [f"c{k}".encode() for k in range(BATCH)] or device == "meta"
            assert first["tokens"].is_nested
            if device != "meta":
                assert [one.tolist() for one in first["tokens"].unbind()] == [one.tolist() for one in tokens[:BATCH]]
            loader.seek(epoch=0)


def test_what_has_no_tensor_is_refused_by_name(tmp_path: Path) -> None:
    """Dates, and a name that there is not: each says which field, and what to do."""
    path = write(tmp_path / "data.h5")
    arrays = {"when": np.arange(100).astype("M8[s]"), "x": np.zeros((100, 2))}
    from streamload.frameworks.torch_form import tensor_maker

    with pytest.raises(sl.ConfigError) as caught:
        tensor_maker(sl.Field("when", arrays["when"].dtype, ()))
    assert str(caught.value) == (
        "PyTorch has no array for the field 'when datetime64[s] ()'. "
        "Name other fields by fields=, or make an array of numbers of it in the loader's transform=."
    )
    with loader_of(path) as loader:
        with pytest.raises(sl.ConfigError, match=r"'numbr', and a batch has no such field\. Give names of fields\. Did you mean number\?"):
            sl.for_torch(loader, ("x", "numbr"))
        for fields, wrong in ((5, "5"), (b"x", "b'x'"), (("x", 3), "3"), (("x", None), "None")):
            with pytest.raises(sl.ConfigError) as caught:
                sl.for_torch(loader, fields)
            assert str(caught.value) == f"sl.for_torch takes fields by their names, not {wrong}. Give a name, or several in a tuple."
        with pytest.raises(sl.ConfigError, match=r"is asked for no field\. Give some of x, number, or None for all"):
            sl.for_torch(loader, ())
    with pytest.raises(sl.ConfigError, match=r"sl\.for_torch takes a loader, not list\. Write sl\.for_torch\(sl\.Loader"):
        sl.for_torch([1, 2])


def test_the_dataloader_form_is_one_to_those_who_ask(path: Path) -> None:
    """Its data set is iterable, as long as an epoch, and gives the same batches; a sampler cannot be put in."""
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, "number", dataloader=True)
        assert isinstance(batches, torch.utils.data.DataLoader)
        assert isinstance(batches.dataset, torch.utils.data.IterableDataset)
        assert len(batches.dataset) == STEPS
        batches.sampler = None
        batches.dataset.set_epoch(2)
        assert [numbers.tolist() for numbers in batches.dataset] == expected(path, 3)[2]
        assert batches.num_workers == 0
        assert batches.batch_size is None
        assert "BatchDataLoader over Loader(" in repr(batches)
        assert "TorchPasses over Loader(" in repr(sl.for_torch(loader))


def train(path: Path, *, stop_after: int | None = None, checkpoint: Path | None = None, epochs: int = 2) -> tuple[Any, list[list[int]]]:
    """A linear model trained by SGD in a plain loop: its weights, and the records that it saw; goes on from a checkpoint."""
    torch.manual_seed(0)
    model = torch.nn.Linear(WIDTH, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    seen: list[list[int]] = []
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, ("x", "number"))
        if checkpoint is not None and checkpoint.exists():
            saved = torch.load(checkpoint, weights_only=True)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            batches.load_state_dict(saved["data"])
        for _ in range(epochs):
            for x, number in batches:
                loss = (model(x)[:, 0] - number / RECORDS).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                seen.append(number.tolist())
                if len(seen) == stop_after:
                    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "data": batches.state_dict()}
                    torch.save(saved, checkpoint)
                    return model.weight.detach().clone(), seen
    return model.weight.detach().clone(), seen


@pytest.mark.parametrize("after", [3, STEPS - 1, STEPS + 2])
def test_training_that_was_interrupted_equals_training_that_was_not(path: Path, tmp_path: Path, after: int) -> None:
    """Records and weights, to the bit."""
    weights, whole = train(path)
    _, first = train(path, stop_after=after, checkpoint=tmp_path / "saved.pt")
    resumed, rest = train(path, checkpoint=tmp_path / "saved.pt", epochs=2 - after // STEPS)
    assert first + rest == whole
    assert torch.equal(weights, resumed)
