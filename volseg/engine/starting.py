"""Weights to start a training from: those of another bundle, fitted to the network that is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from volseg.engine import compose
from volseg.errors import UsageError
from volseg.networks import FCN, UNet
from volseg.networks.blocks import Convolution, TransposedConvolution
from volseg.recipe import Recipe
from volseg.shapes import UNetShape

# keys of network that two networks may differ in and still share weights; sizes of kernels are held against the weights
_FREE = {"spatial_dims", "kernel_sizes", "strides", "dropout", "deep_supervision"}
_Kernel = Convolution | TransposedConvolution


@dataclass(frozen=True, eq=False)
class Start:
    """What a training starts from.

    Attributes:
        name: of the bundle whose weights they are.
        sha256: of that bundle's weights.
        weights: by name, for the layers that do not begin at random.
        notes: what a user should know of it, a line each.
    """

    name: str
    sha256: str
    weights: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} (sha256 {self.sha256})"

    def load_into(self, network: nn.Module) -> None:
        """Give a network these weights; layers that have none stay as they are.

        Raises:
            UsageError: if they were fitted to another network.
        """
        try:
            network.load_state_dict(self.weights, strict=False)
        except RuntimeError as error:
            raise UsageError(
                f"what the run starts from, {self.name}, was fitted to another network", mend="name it again"
            ) from error


def with_start(recipe: Recipe, start: Start | None) -> Recipe:
    """The recipe, its card saying what the training starts from."""
    return recipe.changed({"bundle.started_from": None if start is None else str(start)})


def fit_start(name: str, sha256: str, theirs: Recipe, weights: Mapping[str, Tensor], recipe: Recipe) -> Start:
    """Trained weights as a recipe's network takes them.

    A network of more axes, or of longer kernels along an axis where the trained one has one tap, computes in the
    beginning what that one computes slice by slice, unless it mixes slices by strides or instance norm, which is noted.
    Layers that tell structures apart are left to chance where the structures are others.

    Args:
        name: of the bundle that the weights are of.
        sha256: of its weights.
        theirs: the recipe that they were trained by.
        weights: the tensors.
        recipe: what is trained.

    Raises:
        UsageError: if the networks differ in more than that.
    """
    _require_alike(name, theirs, recipe)
    with torch.device("meta"):
        network: nn.Module = compose.build(compose.network_part(recipe))
    same = theirs.class_names == recipe.class_names
    heads = tuple(f"{layer}." for layer in network.heads) if isinstance(network, UNet | FCN) else ()
    if not same and not heads:
        raise _other(name, "tells other structures apart, and where in such a network is not known")
    kernels = {f"{path}.weight": layer for path, layer in network.named_modules() if isinstance(layer, _Kernel)}
    found: dict[str, Tensor] = {}
    afresh: list[str] = []
    for key, own in network.state_dict().items():
        given = weights.get(key)
        if key.startswith(heads) and (given is None or not same):
            afresh.append(key)
            continue
        fitted = _widened(given, kernels[key]) if given is not None and key in kernels else given
        if fitted is None or fitted.shape != own.shape:
            raise _other(name, f"has {key} as {'nothing' if given is None else _size(given)}, not {_size(own)}")
        found[key] = fitted.to(own.dtype)
    foreign = next((key for key in weights if key not in found and not key.startswith(heads)), None)
    if foreign is not None:
        raise _other(name, f"has {foreign}, which it has not")
    return Start(name, sha256, found, tuple(_notes(name, theirs, recipe, afresh)))


def _require_alike(name: str, theirs: Recipe, recipe: Recipe) -> None:
    """Refuse networks that compute something else from the same weights."""
    before, now = theirs.to_dict()["network"], recipe.to_dict()["network"]
    for key in [*before, *(key for key in now if key not in before)]:
        if key not in _FREE and before.get(key) != now.get(key):
            raise _other(name, f"has network.{key} {before.get(key)}, not {now.get(key)}")
    planes = min(theirs.spatial_dims, recipe.spatial_dims)
    strides = [[stride[:planes] for stride in _strides(one)] for one in (theirs, recipe)]
    if strides[0] != strides[1]:
        raise _other(name, "has other network.strides")


def _notes(name: str, theirs: Recipe, recipe: Recipe, afresh: Sequence[str]) -> Iterator[str]:
    yield f"starting from the weights of {name}: validation is fair only to cases that those never saw"
    if afresh:
        yield f"beginning at random: {', '.join(afresh)}"
    if theirs.spatial_dims < recipe.spatial_dims:
        across = [stride[theirs.spatial_dims :] for stride in _strides(recipe)]
        mixing = [
            why
            for why, applies in (
                ("strides across slices", any(s > 1 for stride in across for s in stride)),
                ("instance norm over the stack", getattr(recipe.network, "norm", None) == "instance"),
            )
            if applies
        ]
        if mixing:
            yield f"it does not begin with the masks of {name}: {' and '.join(mixing)} see more than a slice"
    binding, said = theirs.bundle.license, recipe.bundle.license or "nothing"
    if binding not in (None, said):
        yield f"the weights of {name} are under {binding}; the bundle that is learnt from them says {said}"


def _strides(recipe: Recipe) -> tuple[tuple[int, ...], ...]:
    return recipe.shape.strides if isinstance(recipe.shape, UNetShape) else ()


def _other(name: str, difference: str) -> UsageError:
    return UsageError(
        f"the weights of {name} are of another network than the recipe's: it {difference}",
        mend=f"take over network, and the number of image.channels, from the recipe of {name}",
    )


def _widened(given: Tensor, layer: _Kernel) -> Tensor | None:
    """A kernel with further taps along the axes where it has one; none where that is not possible.

    A convolution gets zeros around its tap, and sees no more than before. An up-convolution whose pieces do not overlap
    gives its one value to each of the positions that arise.
    """
    wanted = layer.weight.shape
    missing = len(wanted) - given.ndim
    given = given.reshape(*given.shape, *(1,) * max(0, missing))  # slices lie along the last axis
    if given.ndim != len(wanted) or given.shape[:2] != wanted[:2]:
        return None
    out = torch.zeros(wanted)
    within: list[slice] = [slice(None), slice(None)]
    for axis, (has, wants) in enumerate(zip(given.shape[2:], wanted[2:], strict=True)):
        if has == wants:
            within.append(slice(None))
        elif has != 1:
            return None
        elif isinstance(layer, TransposedConvolution):
            if layer.stride[axis] != wants:
                return None
            within.append(slice(None))
        else:
            within.append(slice(wants // 2, wants // 2 + 1))
    out[tuple(within)] = given.float()
    return out


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
