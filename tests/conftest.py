"""What all tests share: the folder of real data, a command line run as a person would, and a small DICOM series."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# a busy machine is no failure: time is never what a property is about
settings.register_profile("volseg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("volseg")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that ``VOLSEG_TEST_DATA`` names; tests that need it skip without it."""
    named = os.environ.get("VOLSEG_TEST_DATA")
    if not named:
        pytest.skip("real data: set VOLSEG_TEST_DATA to its folder")
    folder = Path(named).resolve()
    assert folder.is_dir(), f"VOLSEG_TEST_DATA={named} is no folder"
    return folder


@pytest.fixture
def volseg() -> Run:
    """Run ``volseg …`` in a process of its own; warnings on stderr are part of what a person sees."""

    def run(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "volseg.cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, **more)

    return run


@pytest.fixture
def dicom_series(tmp_path: Path) -> Callable[..., list[Path]]:
    """Write a small oblique MR series of made-up voxels; ``edit(dataset, index)`` spoils a slice before it is saved.

    Slice ``k`` lies ``k`` times 2.5 mm along the normal and its pixel in row ``j``, column ``i`` holds
    ``1000 * k + 20 * j + i``.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    def write(
        folder: Path | str = "series",
        *,
        slices: int = 5,
        edit: Callable[[Any, int], None] | None = None,
        names: Callable[[int], str] = "{:03d}.dcm".format,
        sop_class: str = "1.2.840.10008.5.1.4.1.1.4",
    ) -> list[Path]:
        folder = tmp_path / folder
        folder.mkdir(parents=True, exist_ok=True)
        turn, tilt = np.deg2rad(20), np.deg2rad(10)
        along_row = np.array([np.cos(turn), np.sin(turn), 0])
        along_column = np.array([-np.sin(turn) * np.cos(tilt), np.cos(turn) * np.cos(tilt), np.sin(tilt)])
        normal = np.cross(along_row, along_column)
        series, study, frame_of_reference = (generate_uid(None) for _ in range(3))
        files = []
        for k in range(slices):
            ds = Dataset()
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.SOPClassUID, ds.SOPInstanceUID = UID(sop_class), generate_uid(None)
            ds.PatientName, ds.PatientID = "Mustermann^Erika", "SECRET-4711"
            ds.PatientBirthDate = ds.PatientSex = ds.AccessionNumber = ds.StudyID = ""
            ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName = "20200101", "120000", ""
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame_of_reference
            ds.SeriesDescription = "Erika Mustermann, head"
            ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.Manufacturer = "MR", 3, k + 1, "made up"
            ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
            ds.ImageOrientationPatient = [f"{x:.10f}"[:16] for x in (*along_row, *along_column)]
            ds.ImagePositionPatient = [f"{x:.9f}"[:16] for x in np.array([-30, 40, -50]) + 2.5 * k * normal]
            ds.PixelSpacing, ds.SliceThickness = [0.8, 0.7], 2.5
            ds.Rows, ds.Columns, ds.SamplesPerPixel = 12, 10, 1
            ds.PhotometricInterpretation, ds.BitsAllocated, ds.BitsStored, ds.HighBit = "MONOCHROME2", 16, 16, 15
            ds.PixelRepresentation = 0
            j, i = np.mgrid[:12, :10]
            ds.PixelData = (1000 * k + 20 * j + i).astype("<u2").tobytes()
            if edit is not None:
                edit(ds, k)
            ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            files.append(folder / names(k))
            ds.save_as(files[-1], enforce_file_format=True)
        return files

    return write
