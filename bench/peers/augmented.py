"""Usual chains of augmentation, as streamload, torchvision and albumentations do them, each in as many workers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

import streamload as sl
from bench.peers.torchvision_operators import import_torchvision
from streamload import kernels
from streamload.tools.benchmark.peers.serving import Clock, Config, Sink
from streamload.transforms import augment
from streamload.transforms.augmentation import augmentation_of
from streamload.transforms.draws import record_words

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CHAINS = ("crop", "resized", "boxes", "jitter", "no hue", "small", "jpeg", "one curve", "three curves")
"""Crop and flip; crop resized and flipped; the same as levels of one byte; with all four operations of colour, with three of them; of
small images, padded; of images that are decoded; and the first with curves. All but "boxes" end in floats, normalised."""
SIZES = {chain: 32 if chain == "small" else 224 for chain in CHAINS}
"""By chain, the side of what comes out."""
JITTER = {"jitter": (0.4, 0.4, 0.4, 0.1), "no hue": (0.4, 0.4, 0.4)}


def ours(chain: str, dtype: str) -> sl.Augment:
    """A chain as streamload has it."""
    size = SIZES[chain]
    resized = chain in ("resized", "boxes", "jitter", "no hue", "jpeg")
    first = sl.RandomResizedCrop(size, scale=(0.35, 1)) if resized else sl.RandomCrop(size, padding=4 if chain == "small" else None)
    curves = [augment.RandomSolarize(128, p=1), augment.RandomPosterize(4, p=1), augment.RandomInvert(p=1)]
    colour = {"one curve": curves[:1], "three curves": curves}.get(chain, [])
    colour += [sl.ColorJitter(*JITTER[chain])] if chain in JITTER else []
    last = [] if chain == "boxes" else [sl.Normalize(MEAN, STD)]
    return sl.Augment("image", first, sl.RandomHorizontalFlip(), *colour, *last, layout="CHW", dtype=dtype)


def boxes_of(chain: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Top, left, height and width that streamload draws for records in its first epoch, of images of a shape: (records, 4)."""
    kernels.compile_kernels()
    schema = sl.Schema((sl.Field("image", np.dtype(np.uint8), tuple(shape[1:])),))
    (plan,) = augmentation_of(ours(chain, "float32"), schema).plans
    drawn = plan.chain(record_words(0, 0), np.arange(shape[0])).drawn[0].values
    return np.stack([drawn[name] for name in ("top", "left", "height", "width")], axis=-1)


def torchvision_chain(chain: str) -> Any:
    """The same as torchvision has it, on tensors."""
    import torch

    import_torchvision()
    from torchvision.transforms import v2

    size = SIZES[chain]
    first = {"crop": [v2.RandomCrop(size)], "small": [v2.RandomCrop(size, padding=4)]}.get(
        chain, [v2.RandomResizedCrop(size, scale=(0.35, 1), antialias=True)]
    )
    colour = [v2.ColorJitter(*JITTER[chain])] if chain in JITTER else []
    last = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    return v2.Compose([*first, v2.RandomHorizontalFlip(), *colour, *last])


def albumentations_chain(chain: str) -> Any:
    """The same as albumentations has it, on arrays."""
    import albumentations as al

    size = SIZES[chain]
    first = {"crop": [al.RandomCrop(size, size)], "small": [al.RandomCrop(size, size, pad_if_needed=True)]}.get(
        chain, [al.RandomResizedCrop((size, size), scale=(0.35, 1))]
    )
    hue = (-0.1, 0.1) if chain == "jitter" else (0, 0)
    colour = [al.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), hue, p=1)] if chain in JITTER else []
    return al.Compose([*first, al.HorizontalFlip(), *colour, al.Normalize(MEAN, STD)])


def make(config: Config) -> Any:
    """A loader with the chain, settled by a pass."""
    if config["library"] != "streamload":
        return _torch(config)
    data = sl.open(config["path"], fields={"image": "image"})
    chain = ours(config["chain"], config["dtype"])
    order = sl.Block(window=config["window"]) if "window" in config else sl.Exact()
    loader = sl.Loader(data, batch_size=config["batch"], shuffle=order, num_workers=config["workers"], augment=chain)
    sink, numbers = Sink(config["batch"], loader.schema["image"].nbytes), itertools.count()

    def one_pass(request: Config) -> dict[str, Any]:
        number, clock = next(numbers), Clock(sink, request)
        for epoch in loader.epochs(number + 1):
            for batch in epoch:
                sink.take(batch["image"])
        return clock.stop()

    for _ in range(config.get("settle", 2)):
        one_pass({})
    return one_pass


def _torch(config: Config) -> Any:
    """PyTorch's DataLoader over a mapped file, one of the other libraries in its workers."""
    import torch

    from bench.peers.torch_memmap import Pairs, passes

    torch.set_num_threads(1)
    size, tensors = SIZES[config["chain"]], config["library"] == "torchvision"
    chain = torchvision_chain(config["chain"]) if tensors else albumentations_chain(config["chain"])

    class Augmented(Pairs):
        def __getitem__(self, record: int) -> tuple[Any, int]:
            image = self.images[record]
            if tensors:
                return chain(torch.from_numpy(image).permute(2, 0, 1)), int(self.labels[record])
            made = chain(image=np.asarray(image))["image"].transpose(2, 0, 1)
            return torch.from_numpy(np.ascontiguousarray(made)), int(self.labels[record])

    return passes(Augmented(config["path"]), config, whole=False, record_nbytes=4 * 3 * size * size)
