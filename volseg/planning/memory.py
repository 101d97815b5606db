"""How many bytes a training step takes at its worst moment: arithmetic on sizes, nothing is run.

The step is walked as autograd does it. On the way forward every convolution leaves what its gradient will need; on the
way back that goes layer by layer, while gradients of the skip connections wait for their encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from volseg.planning.layers import Layer, layers, parameters
from volseg.recipe import Recipe
from volseg.recipe.network import UNetNetwork
from volseg.recipe.optimiser import SGD

_SINGLE = 4
# bytes per voxel that the loss keeps for its gradient (per class: probabilities, their logarithms, the truth as 0 and
# 1; and once: class numbers and weights), and what it takes besides while it works
_KEPT_PER_CLASS, _KEPT_ONCE = 12, 13
# the libraries' own, from the first step on
_FIXED = 54 << 20
# what lies between blocks: glibc keeps freed blocks and cuts them up, so that a step that frees and takes tensors of
# many sizes holds half as much again as it uses; the CUDA allocator rounds, and cuDNN has its workspaces
_LOOSE = {"cpu": 1.47, "cuda": 1.15}


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step at its worst moment.

    Attributes:
        weights: weights, gradients, the optimiser's and the average's copies.
        batch: images, targets and weights of voxels.
        tensors: activations and gradients of activations, with the room between them.
        workspace: what the convolutions' own code takes.
    """

    weights: int
    batch: int
    tensors: int
    workspace: int

    @property
    def peak(self) -> int:
        """All of it."""
        return self.weights + self.batch + self.tensors + self.workspace + _FIXED


def step_memory(recipe: Recipe, *, device: str = "cpu", channels_last: bool | None = None) -> StepMemory:
    """The memory of one training step of a recipe with a U-Net, in an arithmetic that the device has instructions for.

    Args:
        recipe: the recipe; where its precision is ``auto``, float32 is counted, which the training tries as well.
        device: ``cpu`` or ``cuda``.
        channels_last: the layout, where the recipe leaves it open; by default the one that takes more.
    """
    training = recipe.training
    item = _SINGLE if training.precision in ("auto", "float32") else 2
    plain = not (training.channels_last if training.channels_last != "auto" else bool(channels_last))
    walk = _Walk(recipe, item)
    voxels = prod(training.patch) * training.batch
    return StepMemory(
        _weights(recipe, item),
        voxels * (recipe.in_channels * _SINGLE * 2 + 1 + (_SINGLE if recipe.weight_map else 0)),
        round(walk.peak() * _LOOSE[device]),
        _workspace(walk.all, item * training.batch, plain=plain, device=device),
    )


class _Walk:
    """Forward and back through the layers, counting what is alive."""

    def __init__(self, recipe: Recipe, item: int) -> None:
        network = recipe.network
        assert isinstance(network, UNetNetwork)
        self.all = layers(recipe)
        self.unit = item * recipe.training.batch
        self.normed = network.norm is not None
        self.batch = recipe.training.batch
        self.index = 8 * recipe.training.batch

    def peak(self) -> int:
        alive, most = 0, 0
        left: list[int] = []
        for layer in self.all:
            kept = self._kept(layer)
            most = max(most, alive + kept + self._passing(layer))
            alive += kept
            left.append(kept)
        waiting: dict[int, int] = {}
        for layer, kept in zip(reversed(self.all), reversed(left), strict=True):
            most = max(most, alive + sum(waiting.values()) + self._gradients(layer))
            alive -= kept
            if layer.kind == "up":  # the joint's gradient is one block: it waits, whole, for its encoder
                waiting[layer.level] = (layer.leaving + layer.skip) * layer.after * self.unit
            elif layer.kind == "pool":
                waiting.pop(layer.level, None)
        return most

    def _kept(self, layer: Layer) -> int:
        """What a layer leaves for its gradient, and for the layers after it."""
        out = layer.leaving * layer.after
        if layer.kind == "conv":
            return out * self.unit * (2 if self.normed else 1)
        if layer.kind == "pool":
            return out * (self.unit + self.index)
        if layer.kind == "up":
            return (layer.leaving + layer.skip) * layer.after * self.unit
        return out * self.unit + layer.after * self.batch * (_KEPT_PER_CLASS * layer.leaving + _KEPT_ONCE)

    def _passing(self, layer: Layer) -> int:
        """What is there only while a layer works."""
        if layer.kind == "head":
            return layer.after * self.batch * (4 * layer.leaving + 8)
        return layer.leaving * layer.after * self.unit if layer.kind in ("conv", "up") else 0

    def _gradients(self, layer: Layer) -> int:
        coming, going = layer.leaving * layer.after, layer.entering * layer.before
        if layer.kind == "head":
            return layer.after * self.batch * max(0, 8 * layer.leaving - 12) + (coming + going) * self.unit
        return (coming + max(coming, going)) * self.unit


def _weights(recipe: Recipe, item: int) -> int:
    optimiser = recipe.optimiser
    moments = 1 if isinstance(optimiser, SGD) else 2
    copies = 2 + moments + (1 if optimiser.ema is not None else 0)
    # under autocast each weight is held in the lower precision too
    return parameters(recipe) * (copies * _SINGLE + (item if item < _SINGLE else 0))


def _workspace(found: tuple[Layer, ...], unit: int, *, plain: bool, device: str) -> int:
    convolutions = [layer for layer in found if layer.kind == "conv"]
    largest = max(layer.weights for layer in convolutions) * _SINGLE
    if device != "cpu" or not plain:
        return largest
    # with channels first, oneDNN brings inputs and gradients to its own layout
    moved = max(layer.entering * layer.before + layer.leaving * layer.after for layer in convolutions)
    return largest + moved * unit
