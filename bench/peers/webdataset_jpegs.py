"""WebDataset over tars of JPEGs: shards and a buffer shuffled, Pillow decodes."""

from __future__ import annotations

from pathlib import Path

import webdataset

from streamload.tools.benchmark.peers.serving import Batches, Config, Peer, passing

BUFFER = 1_000


def make(config: Config) -> Peer:
    """Images and labels, as its guide has it."""
    shards = sorted(str(path) for path in Path(config["path"]).glob("*.tar"))

    def batches(epoch: int) -> Batches:
        dataset = webdataset.WebDataset(shards, shardshuffle=len(shards), seed=epoch, empty_check=False).shuffle(BUFFER)
        dataset = dataset.decode("rgb8").to_tuple("jpg", "cls").batched(config["batch"], partial=True)
        yield from webdataset.WebLoader(dataset, batch_size=None, num_workers=config["workers"])

    return passing(batches, config, record_nbytes=config["record_nbytes"], order=f"shards, and a buffer of {BUFFER:,}")
