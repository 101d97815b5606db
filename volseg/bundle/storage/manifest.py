"""The manifest of a bundle: every file with its size and its hash, and a hash of the manifest itself.

It tells damage and carelessness from the bundle that was packed. It does not tell who packed it: whoever changes files
can write a new manifest. A signature does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from volseg import __version__
from volseg.bundle.storage.files import BundleFiles, StrPath, open_bundle, read_whole, refuse_problems
from volseg.bundle.storage.folder import is_leftover
from volseg.bundle.storage.json_text import read_json
from volseg.bundle.storage.limits import LIMITS, MIB
from volseg.bundle.storage.names import name_problem
from volseg.bundle.verifying.golden_files import GoldenFiles
from volseg.errors import BundleError

MANIFEST = "manifest.json"
METADATA = "configs/metadata.json"
RECIPE = "configs/recipe.yaml"
#: the weights, as MONAI reads them and as volseg does
STATE, SAFETENSORS = "models/model.pt", "models/model.safetensors"
FORMAT = "volseg bundle manifest 1"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = {"format", "name", "files", "recipe", "golden", "versions", "digest"}
_LONGEST_VERSION = 100
_VERSIONS = ("version", "monai_version", "pytorch_version", "numpy_version")


@dataclass(frozen=True)
class FileRecord:
    """What a manifest says of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds, to the byte. Equal manifests have equal bytes."""

    name: str
    files: Mapping[str, FileRecord]
    #: digest of the recipe's content, whatever its spelling
    recipe: str | None
    #: the acceptance case
    golden: GoldenFiles | None
    versions: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of everything else in it."""
        return hashlib.sha256(_canonical(self._content())).hexdigest()

    def to_bytes(self) -> bytes:
        """The file's content; no other spelling of it is read back."""
        return _canonical({**self._content(), "digest": self.digest})

    @classmethod
    def from_bytes(cls, raw: bytes, where: str = MANIFEST) -> Manifest:
        """The manifest in a file's content.

        Raises:
            BundleError: if it is none, or any of its bytes was changed.
        """
        data = read_json(raw, where)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise BundleError("is no manifest of volseg", where=where)
        if missing := sorted(_KEYS ^ set(data)):
            raise BundleError(f"the manifest's keys are not those it must have: {missing[0]!a}", where=where)
        name, recipe, golden, versions = (data[key] for key in ("name", "recipe", "golden", "versions"))
        good = (
            (isinstance(name, str) and "/" not in name and not name_problem(name))
            and (recipe is None or (isinstance(recipe, str) and _SHA256.fullmatch(recipe) is not None))
            and _are_versions(versions)
            and isinstance(data["files"], dict)
        )
        if not good:
            raise BundleError("the manifest is damaged", where=where)
        files = {path: _record(path, record, where) for path, record in data["files"].items()}
        case = None if golden is None else GoldenFiles.from_dict(golden, files, where)
        manifest = cls(str(name), files, recipe and str(recipe), case, versions)
        if manifest.digest != data["digest"]:
            raise BundleError("the manifest was changed after it was written (its own digest differs)", where=where)
        if manifest.to_bytes() != raw:
            raise BundleError("the manifest was written anew by something else", where=where)
        return manifest

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "files": {path: {"size": r.size, "sha256": r.sha256} for path, r in self.files.items()},
            "recipe": self.recipe,
            "golden": None if self.golden is None else self.golden.to_dict(),
            "versions": dict(self.versions),
        }


def make_manifest(files: BundleFiles, *, name: str | None = None) -> Manifest:
    """The manifest of a bundle's files: what is hidden, or a manifest already, is left out."""
    records = {}
    for path, size in files.sizes.items():
        if path == MANIFEST or is_leftover(path):
            continue
        with files.open(path) as file:
            records[path] = FileRecord(size, sha256(file))
    golden = GoldenFiles.among(records)
    return Manifest(name or files.name, records, _recipe_digest(files), golden, _versions(files))


def read_manifest(path: StrPath) -> Manifest:
    """The manifest of the bundle at ``path``, a folder or a zip; the files it lists are not looked at."""
    with open_bundle(path) as files:
        return manifest_of(files)


def manifest_of(files: BundleFiles) -> Manifest:
    """The manifest among a bundle's files."""
    if MANIFEST not in files.sizes:
        raise BundleError("has no manifest.json", where=files.where, mend="`volseg bundle pack` writes one")
    return Manifest.from_bytes(read_whole(files, MANIFEST), f"{files.where}: {MANIFEST}")


def check_manifest(path: StrPath) -> Manifest:
    """Hold a bundle against its manifest: every file there, every byte as listed, and nothing else.

    Raises:
        BundleError: the first difference.
    """
    with open_bundle(path) as files:
        return check_files(files)


def check_files(files: BundleFiles) -> Manifest:
    """:func:`check_manifest` for files that are open."""
    refuse_problems(files)
    manifest = manifest_of(files)
    here = {path for path in files.sizes if path != MANIFEST}
    if missing := sorted(set(manifest.files) - here):
        raise BundleError(f"{missing[0]} is missing{_more(missing)}", where=files.where)
    if extra := sorted(here - set(manifest.files)):
        raise BundleError(f"{extra[0]} is not in the manifest{_more(extra)}", where=files.where)
    for path, record in manifest.files.items():
        if files.sizes[path] != record.size:
            raise BundleError(
                f"{path} has {files.sizes[path]} bytes, the manifest says {record.size}", where=files.where
            )
        with files.open(path) as file:
            if sha256(file) != record.sha256:
                raise BundleError(f"{path} is not the file that was packed (its SHA-256 differs)", where=files.where)
    if manifest.recipe != _recipe_digest(files):
        raise BundleError("the recipe is not the one the manifest names", where=files.where)
    return manifest


def sha256(file: BinaryIO) -> str:
    """The hash of an open file's bytes."""
    digest = hashlib.sha256()
    while piece := file.read(MIB):
        digest.update(piece)
    return digest.hexdigest()


def _record(path: str, record: Any, where: str) -> FileRecord:
    if what := name_problem(path):
        raise BundleError(f"the manifest lists {path!a}, which {what}", where=where)
    if not isinstance(record, dict) or set(record) != {"size", "sha256"}:
        raise BundleError(f"the manifest's line for {path} is damaged", where=where)
    size, digest = record["size"], record["sha256"]
    if type(size) is not int or not 0 <= size <= LIMITS.total or not isinstance(digest, str):
        raise BundleError(f"the manifest's line for {path} is damaged", where=where)
    if not _SHA256.fullmatch(digest):
        raise BundleError(f"the manifest's hash of {path} is none", where=where)
    return FileRecord(size, str(digest))


def _recipe_digest(files: BundleFiles) -> str | None:
    if RECIPE not in files.sizes:
        return None
    from volseg.recipe.layers import Layer
    from volseg.recipe.model import Recipe
    from volseg.recipe.yaml_text import LARGEST, read_yaml

    where = f"{files.where}: {RECIPE}"
    data = read_yaml(read_whole(files, RECIPE, LARGEST), where)
    return Recipe.from_layers([Layer(where, data)]).digest()


def _versions(files: BundleFiles) -> dict[str, str]:
    versions = {"volseg": __version__}
    if METADATA in files.sizes:
        data = read_json(read_whole(files, METADATA), f"{files.where}: {METADATA}")
        if isinstance(data, dict):
            versions |= {key: data[key] for key in _VERSIONS if _is_version(data.get(key))}
    return versions


def _canonical(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n").encode()


def _are_versions(value: Any) -> bool:
    return isinstance(value, dict) and set(value) <= {"volseg", *_VERSIONS} and all(map(_is_version, value.values()))


def _is_version(value: Any) -> bool:
    """Whether it is fit to be told: errors name the version that wrote a bundle."""
    return isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST_VERSION


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def bundle_within(path: StrPath, otherwise: str | None = None) -> str | None:
    """How to mend a folder that is no bundle: a run's holds one."""
    inner = Path(path) / "bundle"
    return f"name the bundle in it: {inner}" if (inner / METADATA).is_file() else otherwise
