"""``volseg bundle verify``: whether a bundle is the one that was packed, and does here what it did there.

Everything is judged before anything is used: the bytes, then what they say, then what the network gives. The first
difference ends it. Nothing that the bundle brings is executed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from volseg import __version__
from volseg.bundle.audit.budget import Budget
from volseg.bundle.audit.contents import audit_file
from volseg.bundle.audit.finding import Weight
from volseg.bundle.load import Bundle, load_bundle
from volseg.bundle.packing import check_archive
from volseg.bundle.rendering.build import RESULTS, render
from volseg.bundle.state_dict import parse_state_dict
from volseg.bundle.storage.compared import differing
from volseg.bundle.storage.files import BundleFiles, StrPath, open_bundle, read_whole
from volseg.bundle.storage.folder import FolderFiles
from volseg.bundle.storage.json_text import read_json
from volseg.bundle.storage.manifest import MANIFEST, SAFETENSORS, STATE, Manifest, check_files
from volseg.bundle.storage.private_copy import private_copy
from volseg.bundle.verifying.golden import GoldenOutcome, judge_golden
from volseg.bundle.verifying.signing import check_signature, signature_path
from volseg.bundle.weights import LARGEST
from volseg.errors import BundleError, VolsegError


@dataclass(frozen=True)
class Verified:
    """What was found to hold.

    Attributes:
        where: the bundle was.
        manifest: every file of it.
        weights: SHA-256 of the weights.
        golden: how the mask of the acceptance case compares here.
        device: on which it was given.
        identity: the public key that signed it, if one was asked for.
    """

    where: str
    manifest: Manifest
    weights: str
    golden: GoldenOutcome
    device: str
    identity: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "bundle": self.where,
            "verified": True,
            "name": self.manifest.name,
            "files": len(self.manifest.files),
            "manifest": self.manifest.digest,
            "recipe": self.manifest.recipe,
            "weights": self.weights,
            "versions": {**self.manifest.versions},
            "golden": {**self.golden.to_dict(), "device": self.device},
            "identity": self.identity,
        }


def verify_bundle(
    path: StrPath, *, identity: StrPath | None = None, signature: StrPath | None = None, device: str = "cpu"
) -> Verified:
    """Hold a bundle against its manifest, its recipe and its acceptance case, and against a signature if one is meant.

    Args:
        path: its zip, or its folder.
        identity: the public key of whoever must have signed it, in PEM.
        signature: the signature; beside the bundle if not given.
        device: where the acceptance case is run.

    Raises:
        BundleError: the first difference.
        RecipeError: if the recipe does not hold together.
    """
    with open_bundle(path) as files:
        # a zip must be packed as ours are, to the byte: no other program can see anything else in it
        manifest = check_archive(path) if Path(path).is_file() else check_files(files)
        with private_copy(files, manifest) as folder:
            try:
                return _verified(FolderFiles.at(folder), manifest, str(path), identity, signature, device)
            except VolsegError as error:
                raise _there(error, str(folder), str(path)) from error


def _verified(
    files: FolderFiles, manifest: Manifest, where: str, identity: StrPath | None, signature: StrPath | None, device: str
) -> Verified:
    if check_files(files) != manifest:
        raise BundleError("changed while it was being read", where=files.where)
    if identity is not None:
        check_signature(Path(files.where), manifest, Path(signature or signature_path(where)), identity)
    bundle = load_bundle(files.where)
    _hold_rendered(files, bundle, manifest)
    _hold_state(files, bundle)
    if manifest.golden is None:
        raise BundleError(
            "has no acceptance case", where=files.where, mend="`volseg bundle pack` and `volseg bundle build` make one"
        )
    outcome = judge_golden(bundle, files, manifest.golden, device=device)
    return Verified(where, manifest, bundle.sha256, outcome, device, None if identity is None else str(identity))


def _hold_rendered(files: BundleFiles, bundle: Bundle, manifest: Manifest) -> None:
    """Configurations and documents are those that the recipe renders, and nothing else is there but documents."""
    try:
        results = read_json(read_whole(files, RESULTS), RESULTS) if RESULTS in files.sizes else None
        rendered = render(
            bundle.recipe, weights=bundle.weights, results=results, members=bundle.members, trust=bundle.trust
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, VolsegError):
            raise
        raise BundleError(f"{RESULTS} holds no results of an evaluation", where=files.where) from error
    by = manifest.versions.get("volseg")
    written = f" (volseg {by} wrote it, this is {__version__})" if by != __version__ else ""
    golden = manifest.golden
    own = {MANIFEST, STATE, *((*golden.images, golden.mask) if golden else ())}
    for name, missing in differing(files, rendered, but=own):
        what = "is missing, which" if missing else "is not what"
        raise BundleError(f"{name} {what} the recipe renders{written}", where=files.where)
    budget = Budget()
    for name in sorted(set(files.sizes) - set(rendered) - own):
        if not name.startswith("docs/"):
            raise BundleError(f"{name} is nothing that the recipe renders", where=files.where)
        for finding in audit_file(name, files, budget):
            if finding.weight is not Weight.DATA:
                raise BundleError(f"{name} is no document: {finding.why}", where=files.where)


def _hold_state(files: BundleFiles, bundle: Bundle) -> None:
    """The weights for MONAI are the same; they are read only if they are nothing but tensors."""
    if STATE not in files.sizes:
        raise BundleError(f"{STATE} is missing", where=files.where)
    for finding in audit_file(STATE, files, Budget()):
        if finding.weight is not Weight.DATA:
            raise BundleError(f"{STATE} would call {finding.text}: {finding.why}", where=files.where)
    weights = bundle.weights
    state = parse_state_dict(read_whole(files, STATE, LARGEST), f"{files.where}: {STATE}")
    same = set(state) == set(weights) and all(
        state[name].dtype == value.dtype and torch.equal(state[name], value) for name, value in weights.items()
    )
    if not same:
        raise BundleError(f"{STATE} holds other weights than {SAFETENSORS}", where=files.where)


def _there(error: VolsegError, copy: str, path: str) -> VolsegError:
    """The error as it is about the bundle, not about the copy that was read."""
    where = None if error.where is None else error.where.replace(copy, path)
    return type(error)(error.what.replace(copy, path), where=where, mend=error.mend)
