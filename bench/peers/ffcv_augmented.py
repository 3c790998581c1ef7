"""FFCV's own pipeline on raw images of its own file: a crop at random, a flip, normalisation, float32 channels first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor, ToTorchImage
from ffcv.writer import DatasetWriter

from bench.peers.augmented import MEAN, SIZES, STD
from bench.peers.ffcv_beton import Singly
from bench.peers.source import records_of, written
from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing


def make(config: Config) -> Peer:
    """Its crop at random resizes: with one area and one shape to draw from, it crops and copies."""
    records = records_of(config)

    def write(folder: Path) -> None:
        fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
        DatasetWriter(str(folder / "data.beton"), fields, num_workers=1).from_indexed_dataset(Singly(records))

    folder, took = written(config, "ffcv-rgb", write)
    size, side = SIZES[config["chain"]], records.images.shape[1]
    mean, std = np.array(MEAN) * 255, np.array(STD) * 255
    area = (size / side) ** 2
    decode = RandomResizedCropRGBImageDecoder((size, size), scale=(area, area), ratio=(1.0, 1.0))
    pipelines: dict[str, list[Any]] = {
        "image": [decode, RandomHorizontalFlip(), NormalizeImage(mean, std, np.float32), ToTensor(), ToTorchImage(channels_last=False)],
        "label": [IntDecoder()],
    }
    loader = Loader(
        str(folder / "data.beton"),
        batch_size=config["batch"],
        num_workers=max(1, config["workers"]),
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=False,
        pipelines=pipelines,
        seed=0,
    )

    def batches(_: int) -> Batches:
        for images, labels in loader:
            yield images.numpy(), np.asarray(labels).reshape(-1)

    return passing(batches, config, record_nbytes=4 * 3 * size * size, order="full shuffle", **took)
