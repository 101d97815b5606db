"""A prediction between MONAI's own reader and writer; this file and what it imports are what a vendored bundle carries.

Whatever is imported here must do with torch, NumPy and MONAI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents
from torch import Tensor, nn

from volseg.errors import CohortError
from volseg.geometry import Grid
from volseg.inference.predictor import Predictor
from volseg.inference.stream import Decision
from volseg.inference.tta import Turn
from volseg.inference.windows import Windows
from volseg.io.volume import Volume
from volseg.labels import Labels
from volseg.transforms.preparation import Preparation
from volseg.transforms.regrid import Order

_ENDING = re.compile(r"\.nii(\.gz)?$")


@dataclass(frozen=True)
class CleaningUp:
    """What is done to one structure of a mask after it was decided."""

    largest_component: bool = False
    minimum_size: float = 0.0
    unit: str = "voxels"
    fill_holes: bool = False


def cases(folder: str, channels: int = 1) -> list[dict[str, Any]]:
    """The NIfTI images in a folder and below, as MONAI's datasets take them.

    Images of several channels are files called ``CASE_0000.nii.gz``, ``CASE_0001.nii.gz`` and so on.

    Raises:
        CohortError: if there is none, or a channel is missing.
    """
    found = sorted(path for path in Path(folder).rglob("*") if _ENDING.search(path.name) and path.is_file())
    if not found:
        raise CohortError("no NIfTI image is here", where=folder)
    if channels == 1:
        return [{"image": str(path)} for path in found]
    by_case: dict[str, list[str]] = {}
    for path in found:
        name = re.sub(r"_\d{4}$", "", _ENDING.sub("", str(path)))
        by_case.setdefault(name, []).append(str(path))
    for name, files in by_case.items():
        if len(files) != channels:
            raise CohortError(f"has {len(files)} channels; the bundle takes {channels}", where=name)
    return [{"image": files} for files in by_case.values()]


class Segment:
    """What MONAI's ``SupervisedEvaluator`` does with a batch; given to it as ``iteration_update``.

    Args:
        preparation: from stored images to what the network sees.
        decision: how logits become labels.
        labels: what the values mean.
        turns: symmetries to average over.
        order: the way back to the image's grid.
        steps: what is done to each structure of the mask.
        max_memory: the peak above the loaded network and the image.
        tile: the size of pieces.
        blend: overlapping windows instead of exact pieces.
    """

    def __init__(
        self,
        preparation: Preparation,
        decision: Decision,
        labels: Labels,
        *,
        turns: Sequence[Turn] = (),
        order: Order = "linear",
        steps: Mapping[str, CleaningUp] | None = None,
        max_memory: str | int | None = None,
        tile: Sequence[int] | None = None,
        blend: bool | Windows = False,
    ) -> None:
        self.preparation, self.decision, self.labels = preparation, decision, labels
        self.turns, self.order, self.steps = tuple(turns), order, dict(steps or {})
        self.max_memory, self.tile, self.blend = max_memory, tile, blend
        self._made: tuple[nn.Module, Predictor] | None = None

    def __call__(self, evaluator: Any, batch: Mapping[str, Any]) -> Any:
        """The masks of a batch, on the grids of their images, after what the evaluator does with them."""
        predictor = self._predictor(evaluator.network)
        images: Tensor = batch["image"]
        masks = [self._mask(predictor, image) for image in images]
        pred = MetaTensor(torch.stack(masks), meta=getattr(images, "meta", None))
        pred.is_batch = True
        evaluator.state.output = {"image": images, "pred": pred}
        evaluator.fire_event(IterationEvents.MODEL_COMPLETED)  # the evaluator's transforms wait for it
        return evaluator.state.output

    def _mask(self, predictor: Predictor, image: Any) -> Tensor:
        voxels = image.as_tensor() if hasattr(image, "as_tensor") else image
        grid = Grid(tuple(voxels.shape[1:]), image.affine.cpu().numpy())
        volumes = [Volume(channel.cpu().numpy(), grid) for channel in voxels]
        return torch.from_numpy(predictor(volumes).labels.astype("int32"))[None]

    def _predictor(self, network: nn.Module) -> Predictor:
        if self._made is None or self._made[0] is not network:
            predictor = Predictor(
                [network.eval()],
                self.preparation,
                self.decision,
                self.labels,
                turns=self.turns,
                order=self.order,
                steps=self.steps,
                max_memory=self.max_memory,
                tile=self.tile,
                blend=self.blend,
            )
            self._made = network, predictor
        return self._made[1]
