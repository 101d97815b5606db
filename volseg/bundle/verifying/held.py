"""A bundle's files as whoever runs it reads them: held against the manifest, and what contradicts the recipe told."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

import torch
from torch import Tensor

from volseg import __version__
from volseg.bundle.storage.archive import ZipFiles
from volseg.bundle.storage.compared import differing
from volseg.bundle.storage.files import BundleFiles, FilesAround
from volseg.bundle.storage.manifest import MANIFEST, RECIPE, Manifest, check_files, manifest_of
from volseg.bundle.weights import require_fit
from volseg.engine import compose
from volseg.errors import BundleError
from volseg.recipe import Recipe


@dataclass(frozen=True)
class HeldFiles(FilesAround):
    """Files that can be read as long as they are those in the manifest."""

    #: nothing to hold them to, in a folder that has none
    manifest: Manifest | None

    def open(self, path: str) -> BinaryIO:
        """The bytes of a file, hashed as they are given: nothing comes between."""
        with self.files.open(path) as file:
            raw = file.read()
        if self.manifest is not None:
            record = self.manifest.files.get(path)
            if record is None or record.sha256 != hashlib.sha256(raw).hexdigest():
                raise BundleError(
                    f"{path} is not the one in the manifest",
                    where=self.where,
                    mend="if you changed it yourself, `volseg bundle build` makes a bundle of it",
                )
        return io.BytesIO(raw)


def held_files(files: BundleFiles) -> HeldFiles:
    """The files, held against their manifest.

    A zip must be as its manifest says, every file of it. In a folder, which people work in, the manifest must be right
    about each file that is read, if there is one.

    Raises:
        BundleError: the first difference.
    """
    if isinstance(files, ZipFiles):
        return HeldFiles(files, check_files(files))
    return HeldFiles(files, manifest_of(files) if MANIFEST in files.sizes else None)


def hold_weights(recipe: Recipe, weights: Mapping[str, Tensor], where: object) -> None:
    """Hold weights against the recipe's network, before any memory is given to what a stranger's recipe asks for.

    Raises:
        BundleError: if they do not fit it.
    """
    with torch.device("meta"):
        network = compose.build(compose.network_part(recipe))
    require_fit(network, weights, where)


def edited(files: HeldFiles, rendered: Mapping[str, bytes]) -> tuple[str, ...]:
    """Which configurations say something else than the recipe, in a line for people who expect them to be followed."""
    stranger = files.files  # what is not followed need not be as it was packed
    other = [name for name, missing in differing(stranger, rendered) if not missing]
    if not other:
        return ()
    by = files.manifest.versions.get("volseg", __version__) if files.manifest else __version__
    written = "" if by == __version__ else f" by this version ({by} wrote it)"
    more = f" (and {len(other) - 1} more)" if len(other) > 1 else ""
    return (
        f"{files.where}: {other[0]}{more} is not what {RECIPE} renders{written}; volseg follows the recipe. What the "
        f"file says, code and all, runs through MONAI: python -m monai.bundle run inference --config_file {other[0]}",
    )
