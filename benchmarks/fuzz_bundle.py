"""Coverage-guided fuzzing of what reads a stranger's bundle: no crash, bounded memory, every refusal a VolsegError.

``python -m benchmarks fuzz_bundle manifest --minutes 20`` (also recipe, zip, safetensors, all). Needs atheris. What is
found is written to ``--corpus``.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.fuzzing import campaign

# A reader that needs more than this for a file of a few kilobytes has been made to.
MEMORY_MIB = 800
LONGEST = 8192
TARGETS = ("manifest", "recipe", "zip", "safetensors")


def run(argv: list[str]) -> int:
    """Fuzz one target, or all in turn; exit code 1 if anything was found."""
    return campaign(
        argv,
        module="benchmarks.fuzz_bundle",
        doc=__doc__,
        targets=TARGETS,
        seeds=seeds,
        longest=LONGEST,
        memory_mib=MEMORY_MIB,
    )


def work() -> None:
    """The fuzzing process: never returns."""
    import atheris

    with atheris.instrument_imports(include=["volseg.bundle", "volseg.recipe", "json"]):
        import volseg.bundle.audit
        import volseg.bundle.storage.archive
        import volseg.bundle.storage.manifest
        import volseg.bundle.storage.safetensors_header
        import volseg.recipe  # noqa: F401
    warnings.simplefilter("error")  # a library's word on the terminal is a finding too
    target = sys.argv.pop(1)
    one = reading(target)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


def reading(target: str) -> Callable[[bytes], None]:
    """A function that reads bytes as one part of a bundle; it raises what is not a VolsegError of one line."""
    from volseg.errors import VolsegError

    read = {"manifest": _manifest, "recipe": _recipe, "zip": _zip, "safetensors": _safetensors}[target]

    def one(data: bytes) -> None:
        try:
            read(data)
        except VolsegError as error:
            # a recipe has a line for each of its mistakes
            lines = str(error).split("\n")
            if not all(line.isprintable() for line in lines) or (len(lines) > 1 and target != "recipe"):
                raise AssertionError(f"not fit for a terminal: {str(error)!r}") from error

    return one


def _manifest(data: bytes) -> None:
    from volseg.bundle.storage.manifest import Manifest

    if Manifest.from_bytes(data).to_bytes() != data:
        raise AssertionError("a manifest that reads as another")


def _recipe(data: bytes) -> None:
    from volseg.recipe import Recipe, dump_recipe
    from volseg.recipe.layers import Layer
    from volseg.recipe.yaml_text import read_yaml

    recipe = Recipe.from_layers([Layer("recipe", read_yaml(data, "recipe"))])
    again = Recipe.from_layers([Layer("again", read_yaml(dump_recipe(recipe).encode(), "again"))])
    if again.digest() != recipe.digest():
        raise AssertionError("a recipe that reads as another")


def _zip(data: bytes) -> None:
    from volseg.bundle.audit import audit
    from volseg.bundle.storage.archive import ZipFiles
    from volseg.bundle.storage.manifest import check_files
    from volseg.errors import VolsegError

    files = ZipFiles.of(io.BytesIO(data), "fuzz.zip")
    for path in files.sizes:
        try:
            with files.open(path) as file:
                while file.read(1 << 20):
                    pass
        except VolsegError:
            continue
    audit(files)
    check_files(files)


def _safetensors(data: bytes) -> None:
    from volseg.bundle.storage.safetensors_header import read_safetensors_header

    read_safetensors_header(io.BytesIO(data), len(data), "weights")


def seeds(target: str) -> list[bytes]:
    """Small sound ones to begin with."""
    return {"manifest": _manifests, "recipe": _recipes, "zip": _zips, "safetensors": _headers}[target]()


def _manifests() -> list[bytes]:
    from volseg.bundle.storage.manifest import FileRecord, Manifest
    from volseg.bundle.verifying.golden_files import GoldenFiles

    files = {name: FileRecord(3, "0" * 64) for name in ("LICENSE", "golden/image.nii", "golden/mask.nii")}
    bare = Manifest("heart", {}, None, None, {})
    return [
        bare.to_bytes(),
        Manifest("heart", files, "1" * 64, GoldenFiles.among(files), {"volseg": "0.1.0"}).to_bytes(),
    ]


def _recipes() -> list[bytes]:
    texts = [path.read_bytes() for path in sorted(Path(__file__).parents[1].glob("configs/*.yaml"))]
    return [*texts, b"labels: {values: {heart: 1}}\nimage: {spatial_dims: 3}\ntraining: {patch: [32, 32, 32]}\n"]


def _zips() -> list[bytes]:
    from volseg.bundle.storage.archive import Packed, zip_bytes

    contents = {"heart/configs/metadata.json": b'{"version": "1"}', "heart/LICENSE": b"text"}
    contents |= {"heart/manifest.json": _manifests()[0], "heart/model.pkl": b"\x80\x02}q\x00."}
    packed = (Packed(n, len(c), zlib.crc32(c), partial(io.BytesIO, c)) for n, c in contents.items())
    made = [b"".join(zip_bytes(packed))]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, content in contents.items():
                archive.writestr(name, content * 20)
        made.append(buffer.getvalue())
    return made


def _headers() -> list[bytes]:
    header = json.dumps(
        {
            "a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
            "b": {"dtype": "I64", "shape": [], "data_offsets": [12, 20]},
            "__metadata__": {"format": "pt"},
        }
    ).encode()
    return [struct.pack("<Q", len(header)) + header + bytes(20)]


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
