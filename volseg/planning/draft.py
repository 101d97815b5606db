"""A recipe of a given size: what the size decides, and what the data decide whatever the size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from statistics import median
from typing import Literal

from volseg.data.fingerprint import Fingerprint
from volseg.errors import UsageError
from volseg.io import PLAUSIBLE_SPACING
from volseg.planning.augmenting import augmentation_choices
from volseg.planning.choice import Choice, Choices
from volseg.planning.intensity import intensity_choices
from volseg.planning.learning import learning_choices, object_diameter, postprocessing_choices
from volseg.planning.naming import label_choices, structure_names
from volseg.planning.pose import Pose, pose_of
from volseg.planning.sizing import VOXELS, Size
from volseg.planning.space import Space, make_space, seen_choices, space_choices
from volseg.planning.symmetry import symmetry_choices
from volseg.planning.topology import Topology, shrunk, topology_choices, wanted_patch
from volseg.recipe import Recipe

# a patch that shows less of what it should than this is given coarser voxels, as long as the thinnest structure keeps
# so many of them
_SHOWN, _COARSEST, _THINNEST = 1 / 8, 2.0, 6.0
_FOLDS = 5
# patches in a batch: at least and at most
_BATCH = {2: (4, 16), 3: (2, 4)}


@dataclass(frozen=True)
class Draft:
    """Recipes for a cohort on a device, by size.

    Attributes:
        found: what the cohort is like.
        device: ``cpu`` or ``cuda``.
        dims: of the network; none leaves it to the data.
        name: of the bundle.
    """

    found: Fingerprint
    device: Literal["cpu", "cuda"]
    dims: Literal[2, 3] | None
    name: str
    _fixed: dict[float, tuple[Space, Choices, Pose | None]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.dims == 3 and len(self.found.labelled[0].shape) == 2:
            raise UsageError("the images are 2-D, and a 3-D network was asked for", mend="--dims 2")

    @property
    def folds(self) -> int:
        """Into how many parts the patients can be divided."""
        return min(_FOLDS, len({case.patient for case in self.found.labelled}))

    def recipe(self, size: Size) -> Recipe:
        """The recipe of a size, with a schedule that rehearsals alone see."""
        made = self.choices(size)
        short = {
            "training.epochs": 4,
            "training.steps_per_epoch": 100,
            "training.validate_every": 1,
            "optimiser.ema": 0.99,
        }
        return Recipe.from_dict({**made.data, **short}, where="plan")

    def choices(self, size: Size) -> Choices:
        """Every choice but the schedule's."""
        coarser = self._coarser(size)
        if coarser not in self._fixed:
            space = make_space(self.found, self.dims, coarser)
            made = self._by_the_data(space, coarser)
            self._fixed[coarser] = space, made, pose_of(self.found, space, structure_names(made["labels.values"]))
        space, made, pose = self._fixed[coarser]
        voxels = VOXELS[self.device] * size.share
        fewest, most = _BATCH[space.dims]
        if self.device == "cuda":
            most *= 4
        wanted, reason = wanted_patch(space, object_diameter(self.found))
        patch = shrunk(wanted, max(64, int(voxels / fewest)), keep=2 if space.thick and space.dims == 3 else None)
        if patch != wanted:
            reason += "; made smaller for the time and memory there are"
        if "augmentation.right_angles" in made.by_key:
            patch = (min(patch),) * len(patch)
        topology = Topology.of(patch, space.voxel[: space.dims])
        batch = max(fewest, min(most, int(voxels / topology.voxels)))
        return (
            made.plus(topology_choices(topology, space))
            .plus(
                [
                    Choice("network.channels", list(topology.channels(size.width)), _levels(topology)),
                    Choice("training.patch", list(topology.patch), reason),
                    Choice("training.batch", batch, f"{batch * topology.voxels:,} voxels in a step"),
                ]
            )
            .plus(augmentation_choices(space, topology, made["augmentation.flips"], pose))
        )

    def _coarser(self, size: Size) -> float:
        """How much coarser voxels must be for a patch of this size to show enough, if the structures bear it."""
        space = make_space(self.found, self.dims)
        wanted, _ = wanted_patch(space, object_diameter(self.found))
        shown = VOXELS[self.device] * size.share / _BATCH[space.dims][0] / prod(wanted)
        if space.spacing == "native" or shown >= _SHOWN:
            return 1.0
        resampled = 2 if space.thick else space.dims
        borne = max(1.0, _thinnest(self.found, space, resampled) / _THINNEST)
        readable = PLAUSIBLE_SPACING[1] / max(space.voxel[:resampled])
        coarser = round(min((_SHOWN / shown) ** (1 / resampled), _COARSEST, borne, readable) - 0.05, 1)
        return coarser if coarser > 1.05 else 1.0

    def _by_the_data(self, space: Space, coarser: float) -> Choices:
        """Everything that does not depend on how large the network is."""
        found = self.found
        made = Choices().plus(label_choices(found))
        names = structure_names(made["labels.values"])
        made = made.plus(space_choices(found, space, asked=self.dims, coarser=coarser))
        made = made.plus(seen_choices(found, space, names))
        made = made.plus(intensity_choices(found))
        made = made.plus(symmetry_choices(found, space, names))
        made = made.plus(learning_choices(found, space, names))
        if made["augmentation.flips"]:
            made = made.plus([Choice("inference.tta", "flips", "mirrored copies are averaged at prediction as well")])
        made = made.plus(postprocessing_choices(found, names))
        if self.folds != _FOLDS:
            made = made.plus([Choice("folds.number", self.folds, f"there are {self.folds} patients")])
        return made.plus(_card(found, names, self.name))


def _thinnest(found: Fingerprint, space: Space, axes: int) -> float:
    """The voxels across the thinnest structure, in a typical case."""
    spacing = dict(zip(space.order, space.voxel, strict=True))
    across: dict[int, list[float]] = {}
    for case in found.labelled:
        for part in case.structures:
            thin = min(part.extent[axis] / spacing[axis] for axis in space.order[:axes])
            across.setdefault(part.value, []).append(thin)
    return min(median(values) for values in across.values())


def _card(found: Fingerprint, names: Mapping[int, str], name: str) -> list[Choice]:
    modality = found.modality.modality
    listed = ", ".join(names.values())
    patients = len({case.patient for case in found.labelled})
    of = f"{len(found.labelled)} cases of {patients} patients"
    return [
        Choice("bundle.name", name, "of the file"),
        Choice(
            "bundle.description", f"Segments {listed} in {'images' if modality == 'other' else modality}.", "as known"
        ),
        Choice("bundle.limits", f"Planned on {of}; what is unlike them was never seen.", "complete what you know"),
        Choice("bundle.license", None, "say which, an SPDX identifier: without one nobody else may use the bundle"),
    ]


def _levels(topology: Topology) -> str:
    bottom = [n // prod(s[a] for s in topology.strides) for a, n in enumerate(topology.patch)]
    return f"{topology.levels} levels leave {'x'.join(map(str, bottom))} positions at the bottom"
