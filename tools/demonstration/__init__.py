"""The main job, shown: `./tools/demo`."""
