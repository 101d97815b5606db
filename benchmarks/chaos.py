"""Damage on purpose: flipped bits, full disks, killed writers; none may pass unnoticed.

``python -m benchmarks.chaos bitflip -n 1000``, ``… diskfull``, ``… kill-writer -n 50``; ``all`` does the three.
``… kill-train``, ``… corrupt-checkpoint``, ``… sigterm`` and ``… nan-case`` are those of trainings (``chaos_train``).
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import chaos_train
from benchmarks.frame import child, record

KINDS = ("bitflip", "diskfull", "kill-writer", "all")


def run(argv: list[str]) -> int:
    """One kind of damage, or all; exit code 1 if any passed unnoticed."""
    if argv and argv[0] in chaos_train.KINDS:
        return chaos_train.run(argv)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("-n", type=int, default=None, help="how often (default 1000 flips, 100 sizes, 50 kills)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    failed = 0
    if options.kind in ("bitflip", "all"):
        failed += bitflip(options.n or 1000, options.seed)
    if options.kind in ("diskfull", "all"):
        failed += diskfull(options.n or 100)
    if options.kind in ("kill-writer", "all"):
        failed += kill_writer(options.n or 50, options.seed)
    return 1 if failed else 0


def bitflip(n: int, seed: int) -> int:
    """Flip one bit of a noisy CT n times; whatever is read nevertheless must be equal to the undamaged volume."""
    with tempfile.TemporaryDirectory() as folder:
        path = _noisy_ct(Path(folder))
        bits = random.Random(seed).sample(range(8 * path.stat().st_size), n)
        found = {
            reader: Counter(child("benchmarks.chaos", "flip_and_read", path=str(path), bits=bits, reader=reader))
            for reader in ("volseg", "MONAI LoadImage")
        }
    print(f"{n} single-bit flips in a noisy CT .nii.gz")
    for reader, counts in found.items():
        print(
            f"  {reader:16} undamaged file {'accepted' if counts['undamaged accepted'] else 'REFUSED'},"
            f" {counts['refused']} refused, {counts['same']} read with equal voxels,"
            f" {counts['SILENT']} read with other voxels or geometry and no error"
        )
    ours, peer = found["volseg"], found["MONAI LoadImage"]
    record(
        "chaos_bitflip",
        work=f"{n} single-bit flips in a noisy CT .nii.gz; silent: read without an error, but different",
        ours=dict(ours),
        peer=dict(peer),
        ratio=f"{ours['SILENT']} : {peer['SILENT']} silent",
        packages=("nibabel", "isal"),
    )
    return int(ours["SILENT"] > 0 or not ours["undamaged accepted"])


def flip_and_read(path: str, bits: list[int], reader: str) -> dict[str, int]:
    """Read the file whole, then with each bit flipped; count what happened."""
    import numpy as np

    read = _reader(reader)
    file = Path(path)
    whole = file.read_bytes()
    truth, affine = read(path)
    expected = np.random.default_rng(0).normal(0, 25, (64, 64, 40)).astype(np.int16)
    counts = Counter({"undamaged accepted": int(np.array_equal(truth, expected))})
    damaged = file.with_name(f"damaged_{os.getpid()}.nii.gz")
    for bit in bits:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        damaged.write_bytes(flipped)
        try:
            voxels, where = read(str(damaged))
        except Exception:  # any refusal is one; that ours are one line each is held by the tests
            counts["refused"] += 1
            continue
        counts["same" if np.array_equal(voxels, truth) and np.array_equal(where, affine) else "SILENT"] += 1
    return dict(counts)


def diskfull(n: int) -> int:
    """Write a mask to file systems of n sizes, all too small; each must fail aloud and leave nothing."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        need = write_mask(str(Path(folder, "whole.nii.gz")))["bytes"]
        for k in range(n):
            # whole pages, from one to just too few
            pages = 1 + k * (need // 4096 - 2) // max(1, n - 1)
            counts[_on_small_disk(Path(folder), 4096 * pages)] += 1
    print(f"diskfull: a mask of {need} bytes on {n} disks that are too small: {dict(counts)}")
    record(
        "chaos_diskfull",
        work=f"a label map of {need} bytes written to {n} file systems too small for it",
        ours=dict(counts),
        peer=None,
        ratio=None,
    )
    return int(counts["failed aloud, nothing left"] != n)


def _on_small_disk(folder: Path, size: int) -> str:
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        raise SystemExit("diskfull needs the right to mount a tmpfs")
    try:
        result = write_mask(str(disk / "mask.nii.gz"))
        left = [entry.name for entry in disk.iterdir()]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    if "mask.nii.gz" in left:
        return "A FILE UNDER THE FINAL NAME"
    if left:
        return "A TEMPORARY LEFT"
    return "failed aloud, nothing left" if "no space left" in result["error"] else f"OTHER: {result['error']}"


def write_mask(path: str) -> dict[str, Any]:
    """Write a mask that compresses badly; returns its size, or the error."""
    from volseg.errors import WriteError
    from volseg.io import write_labels

    array, grid = _mask()
    try:
        write_labels(path, array, grid)
    except WriteError as error:
        return {"error": str(error), "bytes": 0}
    return {"error": "", "bytes": Path(path).stat().st_size}


def kill_writer(n: int, seed: int) -> int:
    """Kill a process that writes masks, n times at random moments; every file under a final name must be whole."""
    import numpy as np

    from volseg.errors import VolsegError
    from volseg.io import read_labels

    array, _ = _mask()
    rng, counts = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(n):
            out = Path(folder, str(round_))
            out.mkdir()
            writer = subprocess.Popen(
                [sys.executable, "-c", "from benchmarks import chaos; chaos.write_forever()", str(out)],
                stdout=subprocess.PIPE,
            )
            with writer:
                assert writer.stdout is not None
                writer.stdout.readline()  # it has begun
                time.sleep(rng.uniform(0, 0.3))
                writer.send_signal(signal.SIGKILL)
            for path in out.iterdir():
                if path.name.startswith("."):
                    counts["temporaries, known as such"] += 1
                    continue
                try:
                    whole = np.array_equal(read_labels(path).array, array)
                except VolsegError:
                    whole = False
                counts["whole files" if whole else "PARTIAL FILES"] += 1
    print(f"kill-writer: {n} writers killed: {dict(counts)}")
    record(
        "chaos_kill_writer",
        work=f"{n} processes killed while they write label maps one after another",
        ours=dict(counts),
        peer=None,
        ratio=None,
    )
    return int(counts["PARTIAL FILES"] > 0 or counts["temporaries, known as such"] == 0)


def write_forever() -> None:
    """Write masks until killed; the folder is the first argument."""
    from itertools import count

    from volseg.io import write_labels

    array, grid = _mask()
    for k in count():
        write_labels(Path(sys.argv[1], f"{k}.nii.gz"), array, grid)
        if k == 0:  # all is imported and warm: from here on the kill falls anywhere in a write
            print("begun", flush=True)


def _reader(name: str) -> Any:
    if name == "volseg":
        from volseg.io import read_volume

        def ours(path: str) -> tuple[Any, Any]:
            volume = read_volume(path)
            return volume.array, volume.grid.affine

        return ours
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable()
    from monai.transforms import LoadImage

    load = LoadImage(reader="NibabelReader")

    def monai(path: str) -> tuple[Any, Any]:
        image = load(path)
        return image.numpy(), image.affine.numpy()

    return monai


def _noisy_ct(folder: Path) -> Path:
    import nibabel as nib
    import numpy as np

    voxels = np.random.default_rng(0).normal(0, 25, (64, 64, 40)).astype(np.int16)
    path = folder / "ct.nii.gz"
    path.write_bytes(gzip.compress(nib.Nifti1Image(voxels, np.diag([0.8, 0.8, 1.5, 1])).to_bytes(), mtime=0))
    return path


def _mask() -> tuple[Any, Any]:
    import numpy as np

    from volseg.geometry import Grid

    array = np.random.default_rng(0).integers(0, 200, (128, 128, 60)).astype(np.uint8)
    return array, Grid.from_spacing(array.shape, (1.0, 1.0, 2.0))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
