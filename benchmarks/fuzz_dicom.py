"""Coverage-guided fuzzing of the DICOM path: no crash, no unbounded memory, every refusal a VolsegError.

``python -m benchmarks.fuzz_dicom --minutes 20``. Needs atheris. Fuzzed is what runs in the child, without the child's
walls around it: whatever they would have to stop is a finding. JPEG codecs, which are not Python, are left out.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A reader that needs more than this for a file of a few kilobytes has been made to.
MEMORY_MIB = 2000
LONGEST = 8192


def run(argv: list[str]) -> int:
    """Fuzz for a while; exit code 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_dicom", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--corpus", type=Path, help="a folder for the inputs (default: a temporary one)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory(dir=memory) as inputs:
        corpus = (options.corpus or Path(scratch)) / "dicom"
        corpus.mkdir(parents=True, exist_ok=True)
        for name, data in seeds().items():
            (corpus / f"seed-{name}").write_bytes(data)
        command = [
            sys.executable, "-c", "from benchmarks import fuzz_dicom; fuzz_dicom.work()", inputs, str(corpus),
            f"-max_total_time={int(60 * options.minutes)}", f"-max_len={LONGEST}", f"-rss_limit_mb={MEMORY_MIB}",
            "-timeout=20", f"-seed={options.seed}", "-print_final_stats=1", f"-artifact_prefix={corpus.parent}/dicom-",
        ]  # fmt: skip
        done = subprocess.run(command, check=False, cwd=Path(__file__).parents[1])
    print(f"dicom: {'found something' if done.returncode else 'nothing found'}")
    if done.returncode and options.corpus is None:
        print("run it again with --corpus to keep what was found")
    return 1 if done.returncode else 0


def work() -> None:
    """The fuzzing process: never returns."""
    import atheris

    with atheris.instrument_imports(include=["volseg.io.dicom", "pydicom"]):
        import pydicom  # noqa: F401

        import volseg.io.dicom.pixels
        import volseg.io.dicom.placement
        import volseg.io.dicom.reading  # noqa: F401
    atheris.Setup(sys.argv, reading(Path(sys.argv.pop(1))))
    atheris.Fuzz()


def reading(folder: Path) -> Callable[[bytes], None]:
    """Read these bytes as the only file of a folder; anything but a volume or a VolsegError is raised."""
    import logging

    from volseg.errors import VolsegError
    from volseg.io.dicom import worker
    from volseg.io.dicom.reading import read_job

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    worker.limit = lambda **limits: None  # the fuzzer's own limit counts
    file = folder / "slice.dcm"
    shared = os.open(folder, os.O_TMPFILE | os.O_RDWR) if hasattr(os, "O_TMPFILE") else os.memfd_create("fuzz")
    request = {"files": [str(file)], "file": None, "series": None, "where": "folder", "shared": shared}

    def one(data: bytes) -> None:
        file.write_bytes(data)
        os.ftruncate(shared, 0)
        try:
            answer = read_job({**request, "scratch": str(folder), "memory": MEMORY_MIB << 20})
        except VolsegError as error:
            line = str(error)
            if "\n" in line or "Mustermann" in line:
                raise AssertionError(f"not fit for a terminal: {line!r}") from error
            return
        voxels = 1
        for size in answer["shape"]:
            voxels *= size
        if os.fstat(shared).st_size < voxels:
            raise AssertionError(f"{answer} but {os.fstat(shared).st_size} bytes")

    return one


def seeds() -> dict[str, bytes]:
    """Small honest files of the kinds that take different ways through the reader."""
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

    slice_, radiograph, enhanced, run_lengths = _slice(), _slice(), _enhanced(), _slice()
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
        delattr(radiograph, keyword)
    radiograph.SOPClassUID, radiograph.Modality = "1.2.840.10008.5.1.4.1.1.1", "CR"
    radiograph.PhotometricInterpretation = "MONOCHROME1"
    run_lengths.compress(RLELossless)
    kinds = {"slice": slice_, "radiograph": radiograph, "enhanced": enhanced, "rle": run_lengths}
    written = {name: _bytes(dataset) for name, dataset in kinds.items()}
    for name, syntax in (("implicit", ImplicitVRLittleEndian), ("deflated", DeflatedExplicitVRLittleEndian)):
        enhanced.file_meta.TransferSyntaxUID = syntax
        written[name] = _bytes(_again(enhanced))
    written["bare"] = written["slice"][132:]
    return written


def _slice() -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3", "1.2.4"
    ds.Modality, ds.PatientName, ds.ImageType = "MR", "Mustermann^Erika", ["ORIGINAL", "PRIMARY", "M"]
    ds.InstanceNumber, ds.FrameOfReferenceUID, ds.AcquisitionNumber = 1, "1.2.5", 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [1, 2, 3], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept = [1, 2], 3, 1, -10
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 4, 6, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.PixelPaddingValue = 16, 12, 11, 0, 7
    ds.PixelData = bytes(range(48))
    return ds


def _enhanced() -> Any:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    def item(**values: object) -> Sequence:
        inner = Dataset()
        for keyword, value in values.items():
            setattr(inner, keyword, value)
        return Sequence([inner])

    ds = _slice()
    ds.SOPClassUID, ds.NumberOfFrames, ds.PixelData = "1.2.840.10008.5.1.4.1.1.4.1", 3, bytes(range(48)) * 3
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(ds, keyword)
    ds.SharedFunctionalGroupsSequence = item(
        PixelMeasuresSequence=item(PixelSpacing=[1, 2], SliceThickness=3),
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelValueTransformationSequence=item(RescaleSlope=1, RescaleIntercept=0),
    )
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        item(
            PlanePositionSequence=item(ImagePositionPatient=[1, 2, 3 * k]),
            FrameContentSequence=item(StackID="1", TemporalPositionIndex=1),
        )[0]
        for k in range(3)
    )
    return ds


def _again(dataset: Any) -> Any:
    """The dataset free of the encoding it was written in before, which pydicom holds on to."""
    from pydicom.dataset import Dataset

    fresh = Dataset()
    fresh.update(dataset)
    fresh.file_meta = dataset.file_meta
    return fresh


def _bytes(dataset: Any) -> bytes:
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
