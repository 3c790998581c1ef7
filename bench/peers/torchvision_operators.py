"""torchvision beside any build of PyTorch: what needs none of its compiled operators works without them."""

from __future__ import annotations

from typing import Any


def import_torchvision() -> Any:
    """torchvision; where its compiled operators do not fit the build of PyTorch, without them.

    Raises ImportError where either is missing.
    """
    import torch

    try:
        import torchvision
    except RuntimeError:
        # It misses the first operators that it describes further. They are declared, and nothing computes them.
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision
