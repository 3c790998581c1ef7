"""Opens a file, makes a loader, takes one batch, and says what each of these took, in seconds. Not a contender: run once, by itself."""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Arguments: the path, the batch size, the workers, "exact" or "block", and "crop" where images are augmented."""
    path, batch, workers, order, chain = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
    started = time.perf_counter()
    import streamload as sl

    imported = time.perf_counter()
    data = sl.open(path)
    opened = time.perf_counter()
    shuffle = sl.Exact() if order == "exact" else sl.Block()
    named = time.perf_counter()
    options = {}  # Another commit may know no augmentation.
    if chain == "crop":
        crop = (sl.RandomCrop(224), sl.RandomFlip(), sl.Normalize((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)))
        options["augment"] = sl.Augment("image", *crop, layout="CHW")
    loader = sl.Loader(data, batch_size=batch, shuffle=shuffle, num_workers=workers, **options)
    made = time.perf_counter()
    first = next(iter(loader))
    there = time.perf_counter()
    assert len(first["image"])
    print(json.dumps({"import": imported - started, "open": opened - imported, "loader": made - named, "first": there - named}), flush=True)
    loader.close()


if __name__ == "__main__":
    main()
