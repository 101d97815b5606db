"""What a MONAI user would write to train a residual U-Net for a given time: the peer of ``time_to_dice``.

Cached data, batches of 4 crops (hippocampus) or 16 slices (cardiac stacks), Dice with cross-entropy, AdamW with a
cosine over the budget, MONAI's own augmentation, sliding window and ``Invertd``. Called in a process of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEYS = ("image", "label")
CROP = (40, 56, 40)
SLICE = 160
Items = list[dict[str, str]]


def hippocampus(learn: Items, predict: dict[str, str], masks: str, budget: float, seed: int = 0) -> dict[str, Any]:
    """Train 3-D on whole crops; one mask in ``masks`` for each image to predict."""
    from monai import transforms as mt
    from monai.data import CacheDataset
    from monai.inferers import SlidingWindowInferer

    began = _begin(seed)

    def same(keys: tuple[str, ...]) -> list[Any]:
        return [
            mt.LoadImaged(keys),
            mt.EnsureChannelFirstd(keys),
            mt.Orientationd(keys, axcodes="RAS", labels=None),
            mt.NormalizeIntensityd("image"),
        ]

    drawn = [
        mt.SpatialPadd(KEYS, CROP),
        mt.RandCropByPosNegLabeld(KEYS, label_key="label", spatial_size=CROP, pos=1, neg=1, num_samples=1),
        mt.RandFlipd(KEYS, prob=0.5, spatial_axis=0),
        mt.RandAffined(
            KEYS,
            prob=0.2,
            rotate_range=(0.26,) * 3,
            scale_range=(0.15,) * 3,
            translate_range=(3,) * 3,
            mode=("bilinear", "nearest"),
            padding_mode="zeros",
        ),
        mt.RandGaussianNoised("image", prob=0.2, std=0.1),
        mt.EnsureTyped(KEYS),
    ]
    cached = CacheDataset(learn, mt.Compose(same(KEYS) + drawn), num_workers=2, progress=False)
    network = _unet(3, 3, (32, 64, 128, 256))
    steps = _train(network, cached, 4, began, budget)
    trained = time.perf_counter() - began
    window = SlidingWindowInferer(roi_size=CROP, sw_batch_size=4, overlap=0.5)
    _predict(
        predict, masks, mt.Compose([*same(("image",)), mt.EnsureTyped("image")]), lambda x: window(x[None], network)[0]
    )
    return {"seconds": round(trained, 1), "steps": steps}


def cardiac(learn: Items, predict: dict[str, str], masks: str, budget: float, seed: int = 0) -> dict[str, Any]:
    """Train 2-D on the slices of stacks at 1.5 mm; one mask in ``masks`` for each image to predict."""
    import torch
    from monai import transforms as mt
    from monai.data import Dataset

    began = _begin(seed)

    def same(keys: tuple[str, ...]) -> Any:
        modes = ("bilinear", "nearest")[: len(keys)]
        return mt.Compose(
            [
                mt.LoadImaged(keys),
                mt.EnsureChannelFirstd(keys),
                mt.Spacingd(keys, pixdim=(1.5, 1.5, -1), mode=modes),
                mt.NormalizeIntensityd("image"),
                mt.ResizeWithPadOrCropd(keys, (SLICE, SLICE, -1)),
                mt.EnsureTyped(keys),
            ]
        )

    slices = []
    for item in learn:
        case = {key: value.as_tensor() for key, value in same(KEYS)(item).items() if key in KEYS}
        slices += [{key: value[..., z].clone() for key, value in case.items()} for z in range(case["image"].shape[-1])]
    drawn = mt.Compose(
        [
            mt.RandFlipd(KEYS, prob=0.5, spatial_axis=0),
            mt.RandFlipd(KEYS, prob=0.5, spatial_axis=1),
            mt.RandRotate90d(KEYS, prob=0.5),
            mt.Rand2DElasticd(
                KEYS,
                spacing=(20, 20),
                magnitude_range=(1, 2),
                prob=0.2,
                rotate_range=(0.26,),
                scale_range=(0.15, 0.15),
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            mt.RandScaleIntensityd("image", factors=0.2, prob=0.5),
            mt.EnsureTyped(KEYS),
        ]
    )
    network = _unet(2, 4, (32, 64, 128, 256, 512))
    steps = _train(network, Dataset(slices, drawn), 16, began, budget)
    trained = time.perf_counter() - began

    def logits(stack: Any) -> Any:
        batch = stack.as_tensor().permute(3, 0, 1, 2)
        return torch.cat([network(part) for part in batch.split(8)]).permute(1, 2, 3, 0).contiguous()

    _predict(predict, masks, same(("image",)), logits)
    return {"seconds": round(trained, 1), "steps": steps}


def _begin(seed: int) -> float:
    import torch
    from monai.utils import set_determinism

    began = time.perf_counter()
    torch.set_num_threads(2)
    set_determinism(seed)
    return began


def _unet(dims: int, classes: int, channels: tuple[int, ...]) -> Any:
    from monai.networks.nets import UNet

    return UNet(dims, 1, classes, channels, strides=(2,) * (len(channels) - 1), num_res_units=2, norm="batch")


def _train(network: Any, dataset: Any, batch: int, began: float, budget: float) -> int:
    """Steps made until the budget, which began with the first reading, was spent."""
    import torch
    from monai.data import DataLoader
    from monai.losses import DiceCELoss

    loader = DataLoader(dataset, batch_size=batch, shuffle=True, num_workers=0, drop_last=True)
    loss = DiceCELoss(softmax=True, to_onehot_y=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network.train()
    steps = 0
    while True:
        for items in loader:
            spent = (time.perf_counter() - began) / budget
            if spent >= 1:
                network.eval()
                return steps
            for group in optimiser.param_groups:
                group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * spent))
            optimiser.zero_grad(set_to_none=True)
            images, labels = (torch.as_tensor(items[key]) for key in KEYS)
            loss(network(_plain(images)), _plain(labels)).backward()
            optimiser.step()
            steps += 1


def _plain(tensor: Any) -> Any:
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor


def _predict(images: dict[str, str], masks: str, same: Any, logits: Callable[[Any], Any]) -> None:
    """Segment each image and bring the mask back to its own grid by inverting what was done to it."""
    import nibabel
    import numpy as np
    import torch
    from monai import transforms as mt
    from monai.data import MetaTensor

    after = mt.Compose(
        [
            mt.Activationsd("pred", softmax=True),
            mt.Invertd("pred", transform=same, orig_keys="image", nearest_interp=False, to_tensor=True),
            mt.AsDiscreted("pred", argmax=True),
        ]
    )
    Path(masks).mkdir(parents=True, exist_ok=True)
    for name, path in images.items():
        item = same({"image": path})
        image = item["image"]
        with torch.no_grad():
            found = logits(image)
        item["pred"] = MetaTensor(_plain(found), meta=image.meta, applied_operations=image.applied_operations)
        mask = after(item)["pred"][0].numpy().astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mask, nibabel.load(path).affine), Path(masks, f"{name}.nii.gz"))
