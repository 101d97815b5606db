"""The acceptance case: a small phantom that goes with a bundle, and the mask that the bundle must give for it.

Hashes tell that the files are those that were packed. The acceptance case tells that they also do here what they did
there: with this processor, these libraries and this version of volseg.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.bundle.load import Bundle, load_bundle
from volseg.bundle.storage.files import BundleFiles, StrPath, open_bundle, read_whole
from volseg.bundle.storage.limits import MIB
from volseg.bundle.storage.manifest import RECIPE, SAFETENSORS
from volseg.bundle.verifying.golden_files import MASK, GoldenFiles, image_paths
from volseg.bundle.verifying.golden_phantoms import phantoms
from volseg.errors import BundleError, VolsegError
from volseg.inference.predictor import Predictor
from volseg.io import Volume, read_labels, read_volume, write_labels, write_volume
from volseg.labels import Labels

_LARGEST = 16 * MIB
# a bundle may ask for any spacing: what its small image would be resampled to is judged before it is
_MOST_VOXELS = 2**24
_MEMORY = "2GiB"
# a mask says enough where structures and background each have this share of it
_TELLING = 0.02


@dataclass(frozen=True)
class GoldenOutcome:
    """How the mask that a bundle gives here compares to the one it came with.

    Attributes:
        structures: the structures in the kept mask.
        differing: voxels whose label is another.
        counted: voxels that either mask gives to a structure; a hundredth of all where those are fewer.
        tolerance: the share of them that may differ.
    """

    structures: tuple[str, ...]
    differing: int
    counted: int
    tolerance: float

    @property
    def share(self) -> float:
        """Of the voxels that count, those that differ."""
        return self.differing / self.counted

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "structures": list(self.structures),
            "differing": self.differing,
            "counted": self.counted,
            "share": self.share,
            "tolerance": self.tolerance,
        }


def make_golden(bundle: Bundle) -> dict[str, bytes]:
    """The files of a bundle's acceptance case, by their paths in it.

    Of several phantoms the first is taken in which the network finds every structure, or the one in which it finds
    most: a mask without any proves little.

    Raises:
        BundleError: if the bundle gives no mask for any of them.
    """
    predictor, recipe = _predictor(bundle), bundle.recipe
    best: tuple[tuple[int, float], dict[str, bytes]] | None = None
    failed: VolsegError | None = None
    for voxels, grid in phantoms(recipe):
        with TemporaryDirectory(prefix="volseg-golden-") as folder:
            images = [Path(folder, path) for path in image_paths(recipe.in_channels)]
            images[0].parent.mkdir()
            for path, channel in zip(images, voxels, strict=True):
                write_volume(path, channel, grid)
            try:
                volumes = [_read(bundle, path) for path in images]
                mask = predictor(volumes).labels
            except VolsegError as error:
                failed = error
                continue
            write_labels(Path(folder, MASK), mask, volumes[0].grid, recipe.labels, like=volumes[0])
            files = {path: Path(folder, path).read_bytes() for path in (*image_paths(recipe.in_channels), MASK)}
        worth = _worth(mask, recipe.labels)
        if best is None or worth > best[0]:
            best = worth, files
        if worth[0] == len(recipe.labels) and worth[1] > _TELLING:
            break
    if best is None:
        raise BundleError(
            f"the network gives no mask for a phantom ({failed})", where=bundle.where, mend="train it again"
        )
    return best[1]


def golden_to_pack(path: StrPath) -> dict[str, bytes]:
    """What the folder of a trained bundle lacks of an acceptance case; one that is there must hold.

    Raises:
        BundleError: if the bundle does not give the mask that is kept in it, or its recipe and weights do not fit.
    """
    with open_bundle(path) as files:
        if RECIPE not in files.sizes or SAFETENSORS not in files.sizes:
            return {}
        bundle, golden = load_bundle(path), GoldenFiles.among(files.sizes)
        if golden is None:
            return make_golden(bundle)
        judge_golden(bundle, files, golden)
        return {}


def judge_golden(bundle: Bundle, files: BundleFiles, golden: GoldenFiles, *, device: str = "cpu") -> GoldenOutcome:
    """Give the mask of a bundle's acceptance case here, and hold it against the one that came with the bundle.

    Raises:
        BundleError: if more labels differ than the manifest allows, or the case cannot be read.
    """
    recipe, where = bundle.recipe, files.where
    if len(golden.images) != recipe.in_channels:
        raise BundleError(
            f"the acceptance case has {len(golden.images)} images, the recipe {recipe.in_channels} channels",
            where=where,
        )
    paths = (*golden.images, golden.mask)
    if sum(files.sizes[path] for path in paths) > _LARGEST:
        raise BundleError(f"its small acceptance case has more than {_LARGEST // MIB} MiB", where=where)
    with TemporaryDirectory(prefix="volseg-golden-") as folder:
        for path in paths:
            place = Path(folder, path)
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(read_whole(files, path, _LARGEST))
        with _called(folder, where):
            volumes = [_read(bundle, Path(folder, path)) for path in golden.images]
            spacing = tuple(recipe.image.allowed_spacing)
            kept = read_labels(Path(folder, golden.mask), recipe.labels, spacing_range=(spacing[0], spacing[1]))
            predictor = _predictor(bundle, device)
            _hold_size(predictor, volumes, where)
            kept.grid.require_same(volumes[0].grid, where=where, what="the acceptance case's image and mask")
            given = predictor(volumes).labels
    outcome = _compared(given, kept.array, recipe.labels, golden.tolerance)
    if outcome.share > golden.tolerance:
        raise BundleError(
            f"gives another mask for its acceptance case than it came with: {outcome.differing} of {outcome.counted}"
            f" labels differ, {golden.tolerance:.1%} may",
            where=where,
        )
    return outcome


def _predictor(bundle: Bundle, device: str = "cpu") -> Predictor:
    """As the recipe says, but in single precision everywhere: lower ones differ from processor to processor."""
    return bundle.predictor(device=device, precision="float32", max_memory=_MEMORY)


def _read(bundle: Bundle, path: Path) -> Volume:
    low, high = bundle.recipe.image.allowed_spacing
    return read_volume(path, spacing_range=(low, high))


def _hold_size(predictor: Predictor, volumes: Sequence[Volume], where: str) -> None:
    _, grid = predictor.preparation.grids(volumes[0].grid)
    if math.prod(grid.shape) * len(volumes) > _MOST_VOXELS:
        shape = "x".join(map(str, grid.shape))
        raise BundleError(f"its small acceptance case would be resampled to {shape} voxels", where=where)


def _compared(given: npt.NDArray[Any], kept: npt.NDArray[Any], labels: Labels, tolerance: float) -> GoldenOutcome:
    structures = tuple(s.name for s in labels.structures if (kept == s.value).any())
    counted = max(int(np.count_nonzero((given != 0) | (kept != 0))), -(-kept.size // 100))
    return GoldenOutcome(structures, int(np.count_nonzero(given != kept)), counted, tolerance)


def _worth(mask: npt.NDArray[Any], labels: Labels) -> tuple[int, float]:
    inside = float(np.mean(mask != 0))
    return sum(bool((mask == s.value).any()) for s in labels.structures), min(inside, 1 - inside)


@contextmanager
def _called(folder: str, where: str) -> Iterator[None]:
    """Errors name the file in the bundle, not the copy that was read."""
    try:
        yield
    except BundleError:
        raise
    except VolsegError as error:
        place = (error.where or "").removeprefix(folder + os.sep)
        what = f"{place}: {error.what}" if place else error.what
        raise BundleError(f"the acceptance case cannot be read ({what})", where=where) from error
