"""Reading .nii.gz with every check on, against nibabel and MONAI's LoadImage on the same files."""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.frame import child, record

CONTENDERS = {
    "volseg": "ours",
    "volseg without isal": "ours_without_isal",
    "nibabel dataobj": "nibabel_dataobj",
    "nibabel get_fdata": "nibabel_get_fdata",
    "MONAI LoadImage": "monai_load_image",
}


def run(argv: list[str]) -> int:
    """Make the files, time each contender in a process of its own, print and record the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks read", description=__doc__)
    parser.add_argument("-n", "--repeats", type=int, default=7, help="readings of each file (default 7)")
    parser.add_argument("--slices", type=int, default=120, help="slices of the generated scans (default 120)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        files = child("benchmarks.read", "make", folder=folder, slices=options.slices) | _real()
        found = {
            name: child("benchmarks.read", function, files=files, repeats=options.repeats)
            for name, function in CONTENDERS.items()
        }
    for file in files:
        sums = {name: result[file]["sum"] for name, result in found.items()}
        if max(sums.values()) - min(sums.values()) > 1e-6 * abs(max(sums.values())) + 1e-3:
            raise SystemExit(f"{file}: the contenders read different voxels: {sums}")
    print(f"{'file':28}" + "".join(f"{name:>22}" for name in CONTENDERS))
    for file in files:
        ours = found["volseg"][file]["seconds"]
        cells = (
            f"{found[name][file]['seconds'] * 1e3:9.1f} ms {found[name][file]['seconds'] / ours:5.2f} x"
            for name in CONTENDERS
        )
        print(f"{file:28}" + "".join(f"{cell:>22}" for cell in cells))
    seconds = {name: {file: result[file]["seconds"] for file in files} for name, result in found.items()}
    record(
        "read",
        work="reading .nii.gz files from the page cache, median seconds per file; ours with every check on",
        ours={name: seconds[name] for name in ("volseg", "volseg without isal")},
        peer={name: seconds[name] for name in CONTENDERS if not name.startswith("volseg")},
        ratio={
            name: {file: seconds[name][file] / seconds["volseg"][file] for file in files}
            for name in CONTENDERS
            if name != "volseg"
        },
        packages=("nibabel", "isal", "monai"),
    )
    return 0


def make(folder: str, slices: int) -> dict[str, str]:
    """A noisy CT, two float images and a label map, packed as nibabel and dcm2niix do it."""
    import nibabel as nib
    import numpy as np

    rng = np.random.default_rng(0)
    x, y = np.mgrid[-1:1:512j, -1:1:512j]
    body = np.where(x**2 / 0.7 + y**2 / 0.5 < 1, 40.0, -1000.0)[..., None] + np.zeros(slices)
    arrays: dict[str, np.ndarray] = {
        "CT int16": (body + rng.normal(0, 25, body.shape)).astype(np.int16),
        # twelve bits of a scanner, converted to float on the way
        "MRI float32": np.abs(body[::2, ::2] + 1000 + rng.normal(0, 30, (256, 256, slices))).round().astype(np.float32),
        # resampled, so that every bit is noise: hardly compressible, the worst case for whoever reads well
        "noise float32": rng.normal(0, 30, (256, 256, slices)).astype(np.float32),
        "label map uint8": ((body > 0) * (1 + (np.arange(slices) // 30 % 3))).astype(np.uint8),
    }
    paths = {}
    for name, array in arrays.items():
        path = Path(folder, f"{name.replace(' ', '_')}.nii.gz")
        image = nib.Nifti1Image(array, np.diag([0.8, 0.8, 1.5, 1]))
        path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))
        paths[f"{name} {'x'.join(map(str, array.shape))}"] = str(path)
    return paths


def ours(files: dict[str, str], repeats: int) -> Any:
    from volseg.io import read_volume

    return _timed(lambda path: read_volume(path).array, files, repeats)


def ours_without_isal(files: dict[str, str], repeats: int) -> Any:
    sys.modules["isal"] = None  # type: ignore[assignment]
    from volseg.io import byte_stream

    if byte_stream.deflate.__name__ != "zlib":
        raise SystemExit("isal was used")
    return ours(files, repeats)


def nibabel_dataobj(files: dict[str, str], repeats: int) -> Any:
    import nibabel as nib
    import numpy as np

    return _timed(lambda path: np.asanyarray(nib.load(path).dataobj), files, repeats)


def nibabel_get_fdata(files: dict[str, str], repeats: int) -> Any:
    import nibabel as nib

    return _timed(lambda path: nib.load(path).get_fdata(), files, repeats)


def monai_load_image(files: dict[str, str], repeats: int) -> Any:
    import warnings

    warnings.simplefilter("ignore")
    from monai.transforms import LoadImage

    load = LoadImage(reader="NibabelReader")
    return _timed(lambda path: load(path).numpy(), files, repeats)


def _timed(read: Any, files: dict[str, str], repeats: int) -> dict[str, dict[str, float]]:
    found = {}
    for name, path in files.items():
        total = float(read(path).astype("float64").sum())  # also warms the page cache and the imports
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            read(path)
            times.append(time.perf_counter() - start)
        found[name] = {"seconds": statistics.median(times), "sum": total}
    return found


def _real() -> dict[str, str]:
    folder = Path(os.environ.get("VOLSEG_TEST_DATA", "/nowhere"), "acdc", "training", "patient001")
    return {f"cine MRI {path.name[11:18]}": str(path) for path in sorted(folder.glob("*_frame??.nii.gz"))[:1]}
