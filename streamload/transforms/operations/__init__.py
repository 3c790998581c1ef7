"""Operations of augmentation: plain values, with the names, arguments and defaults of torchvision's `v2` where it has them.

A new operation is a class in a module here, and a line of `OPERATIONS`.
"""

from __future__ import annotations

OPERATIONS: dict[str, str] = {
    "CenterCrop": "crops",
    "RandomCrop": "crops",
    "RandomResizedCrop": "crops",
    "FiveCrop": "crops",
    "Pad": "shape",
    "Resize": "shape",
    "RandomHorizontalFlip": "shape",
    "RandomVerticalFlip": "shape",
    "RandomFlip": "shape",
    "RandomRotate90": "shape",
    "RandomAffine": "affine",
    "RandomRotation": "affine",
    "ColorJitter": "color",
    "Grayscale": "color",
    "RandomGrayscale": "color",
    "RandomChannelPermutation": "color",
    "RandomGamma": "curves",
    "RandomSolarize": "curves",
    "RandomPosterize": "curves",
    "RandomInvert": "curves",
    "RandomEqualize": "curves",
    "RandomAutocontrast": "curves",
    "GaussianBlur": "filters",
    "RandomAdjustSharpness": "filters",
    "Normalize": "last",
    "RandomErasing": "last",
    "RandomApply": "policies",
    "RandomChoice": "policies",
    "RandAugment": "policies",
    "TrivialAugmentWide": "policies",
    "MixUp": "batch",
    "CutMix": "batch",
    "OneHot": "batch",
    "PadRagged": "ragged",
    "PackRagged": "ragged",
}
"""The module of each."""
