"""Coverage-guided fuzzing of the header paths: no crash, no unbounded memory, every refusal a VolsegError.

``python -m benchmarks.fuzz nifti --minutes 20`` (also nifti2, packed, nrrd, metaimage, mgh, png, tiff, all).
Needs atheris. What is found is written to ``--corpus``; ``tests/fuzz`` keeps it from coming back.
"""

from __future__ import annotations

import gzip
import os
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from benchmarks.fuzzing import campaign

# A reader that needs more than this for a file of a few kilobytes has been made to.
MEMORY_MIB = 1500
LONGEST = 4096

ENDINGS = {
    "nifti": ".nii",
    "nifti2": ".nii",
    "packed": ".nii.gz",
    "nrrd": ".nrrd",
    "metaimage": ".mha",
    "mgh": ".mgh",
    "png": ".png",
    "tiff": ".tif",
}


def run(argv: list[str]) -> int:
    """Fuzz one target, or all in turn; exit code 1 if anything was found."""
    return campaign(
        argv,
        module="benchmarks.fuzz",
        doc=__doc__,
        targets=tuple(ENDINGS),
        seeds=seeds,
        longest=LONGEST,
        memory_mib=MEMORY_MIB,
    )


def work() -> None:
    """The fuzzing process: never returns."""
    import atheris

    with atheris.instrument_imports(
        include=["volseg.io", "nibabel.nifti1", "nibabel.freesurfer", "nibabel.spatialimages"]
    ):
        import nibabel.nifti1  # noqa: F401

        import volseg.io.metaimage
        import volseg.io.mgh
        import volseg.io.nifti
        import volseg.io.nrrd
        import volseg.io.picture  # noqa: F401
    warnings.simplefilter("error")  # a library's word on the terminal is a finding too
    target = sys.argv.pop(1)
    one = reading(target)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


def reading(target: str) -> Callable[[bytes], None]:
    """A function that reads bytes as a file of one format; it raises what is not a VolsegError."""
    from volseg.errors import VolsegError
    from volseg.io import read_labels, read_volume

    folder = Path("/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir())
    path = folder / f"volseg-fuzz-{os.getpid()}{ENDINGS[target]}"

    def one(data: bytes) -> None:
        path.write_bytes(gzip.compress(data, 1, mtime=0) if target == "packed" else data)
        try:
            for read in (read_volume, read_labels):
                try:
                    volume = read(path)
                except VolsegError as error:
                    if "\n" in str(error):
                        raise AssertionError(f"more than a line: {error}") from error
                else:
                    if volume.array.nbytes > 64 << 20:
                        raise AssertionError(f"{volume.array.nbytes} bytes from {len(data)}")
        finally:
            path.unlink()

    return one


def seeds(target: str) -> list[bytes]:
    """Small sound files to begin with."""
    import nibabel as nib
    import numpy as np

    array = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    affine = np.diag([0.8, 0.8, 2, 1])
    if target in ("nifti", "packed"):
        scaled = nib.Nifti1Image(array, affine).to_bytes()
        scaled = scaled[:112] + struct.pack("<ff", 2, -1024) + scaled[120:]
        frames = np.stack([array] * 3, axis=-1)
        return [nib.Nifti1Image(a, affine).to_bytes() for a in (array, frames, array.astype(np.float32))] + [scaled]
    if target == "nifti2":
        return [nib.Nifti2Image(array, affine).to_bytes()]
    if target == "mgh":
        return [nib.freesurfer.MGHImage(array.astype(np.int32), affine).to_bytes()]
    return [_written(ENDINGS[target], array, affine)]


def _written(ending: str, array: object, affine: object) -> bytes:
    import numpy as np

    from volseg.geometry import Grid
    from volseg.io import write_volume

    voxels = np.asarray(array)
    if ending in (".png", ".tif"):
        voxels, grid = voxels[..., 0].astype(np.uint8), Grid.from_spacing(voxels.shape[:2], (1, 1))
    else:
        grid = Grid(voxels.shape, np.asarray(affine))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"seed{ending}")
        write_volume(path, voxels, grid)
        return path.read_bytes()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
