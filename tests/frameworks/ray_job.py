"""A job of two workers of Ray Train, each of which goes through an epoch, and says which records counted in how many steps."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer

FOLDER = str(Path(__file__).parent)


def work(asked: dict[str, Any]) -> None:
    """What each worker does."""
    sys.path.insert(0, asked["folder"])
    from rank_job import run

    found = run(asked["path"])
    context = ray.train.get_context()
    assert (found["rank"], found["world"]) == (context.get_world_rank(), context.get_world_size())
    Path(f"{asked['out']}.{found['rank']}").write_text(json.dumps(found))


if __name__ == "__main__":
    path, out, folder = sys.argv[1:]
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_TRAIN_V2_ENABLED="1")
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, _temp_dir=folder, log_to_driver=False)
    try:
        TorchTrainer(
            work,
            train_loop_config={"path": path, "out": out, "folder": FOLDER},
            scaling_config=ray.train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
            run_config=ray.train.RunConfig(storage_path=os.path.join(folder, "results")),
        ).fit()
    finally:
        ray.shutdown()
