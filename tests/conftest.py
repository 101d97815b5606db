"""What all tests share: the folder of real data, a command line run as a person would, and a small DICOM series."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

# processes side by side share the cores, and so do those they start: threads beyond the cores wait for each other
if side_by_side := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // side_by_side)))

# a busy machine is no failure: time is never what a property is about
settings.register_profile("volseg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# for tests of the tests, which are run once for every mutant: few examples, always the same, none made simpler
settings.register_profile(
    "mutants",
    settings.get_profile("volseg"),
    max_examples=20,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "volseg"))

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Predicted:
    """How ``volseg predict`` ended."""

    code: int
    out: str
    err: str
    summary: dict[str, Any]
    output: Path

    @property
    def errors(self) -> dict[str, str]:
        """The reasons of the cases that failed."""
        return {case["case"]: case["error"] for case in self.summary["cases"] if case["verdict"] == "failed"}

    @property
    def masks(self) -> list[str]:
        """The masks of the others, below the output folder."""
        return sorted(case["mask"] for case in self.summary["cases"] if case["verdict"] == "done")


Predict = Callable[..., Predicted]


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


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for 3-D images of any kind, its weights random: enough for everything but good masks."""
    import torch

    from volseg.bundle.rendering.build import build_bundle
    from volseg.engine import compose
    from volseg.recipe import Recipe

    recipe = Recipe.from_dict(
        {
            "labels.values": {"bright": 1, "dark": 2},
            "image": {"spatial_dims": 3, "allowed_spacing": [0.02, 50]},
            "network": {"channels": [2, 4]},
            "training": {"patch": [16, 16, 16], "precision": "float32"},
            "bundle.name": "tiny",
        }
    )
    torch.manual_seed(0)
    network = compose.build(compose.network_part(recipe))
    folder = tmp_path_factory.mktemp("tiny")
    torch.save(network.state_dict(), folder / "random.pt")
    return build_bundle(recipe, folder / "bundle", weights=folder / "random.pt")


@pytest.fixture
def predict(tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Predict:
    """Run ``volseg predict`` with the tiny bundle in this process: hundreds of times cost no more than once."""
    from volseg.cli.app import main

    def run(inputs: object, output: object, *words: object) -> Predicted:
        given = ["volseg", "predict", "-i", inputs, "-o", output, "-b", tiny_bundle, *words]
        monkeypatch.setattr("sys.argv", [str(word) for word in given])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        told = Path(str(output), "summary.json")
        summary = json.loads(told.read_text()) if told.is_file() else {}
        code = left.value.code
        return Predicted(code if isinstance(code, int) else 0, said.out, said.err, summary, Path(str(output)))

    return run


@pytest.fixture
def micrographs(tmp_path: Path) -> Path:
    """``data`` with pixels of half a micrometre and objects told apart, ``masks`` that do not, and ``recipe.yaml``."""
    from volseg.geometry import Grid
    from volseg.io import write_labels, write_volume
    from volseg.recipe import Recipe, dump_recipe

    rng = np.random.default_rng(0)
    grid = Grid.from_spacing((48, 48), (0.0005, 0.0005))
    home = tmp_path / "micrographs"
    for folder in ("data/images", "data/labels", "masks"):
        (home / folder).mkdir(parents=True)
    for number in range(4):
        objects = np.zeros(grid.shape, np.uint8)
        objects[4:14, 4 + number : 20], objects[20:40, 10:20], objects[20:40, 24:44] = 1, 2, 3
        image = (100 * (objects > 0) + rng.normal(50, 5, grid.shape)).astype(np.float32)
        write_volume(home / "data/images" / f"m{number}.nii.gz", image, grid)
        write_labels(home / "data/labels" / f"m{number}.nii.gz", objects, grid)
        write_labels(home / "masks" / f"m{number}.nii.gz", objects > 0, grid)
    recipe = Recipe.from_dict(
        {
            "labels": {"values": {"cell": 1}, "instances": True},
            "image": {"spatial_dims": 2, "modality": "microscopy", "allowed_spacing": [1e-6, 1000]},
            "network.channels": [4, 8],
            "training": {"patch": [32, 32], "epochs": 1, "steps_per_epoch": 2, "validate_every": 1},
            "folds.number": 2,
            "bundle.name": "micrographs",
        }
    )
    (home / "recipe.yaml").write_text(dump_recipe(recipe))
    return home


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


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Starting a child for each of a hundred small series would cost minutes; the job is the same here.

    What crosses the border is still turned into JSON and back.
    """
    import locale
    import mmap
    import warnings

    from volseg.io.dicom import isolate, worker

    language = locale.setlocale(locale.LC_ALL)

    def run(
        request: Mapping[str, object], *, where: object, budget: isolate.Budget, voxels: bytes = b""
    ) -> isolate.Answer:
        scratch = tmp_path / ".scratch"
        scratch.mkdir(exist_ok=True)
        with isolate._shared_memory() as shared:
            shared.write(voxels)
            shared.flush()
            whole = {**request, "shared": shared.fileno(), "scratch": str(scratch), "memory": budget.memory}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answer: dict[str, Any] = json.loads(json.dumps(worker._answer(json.loads(json.dumps(whole)))))
            if "error" in answer:
                raise isolate.rebuilt(answer["error"], where)
            size = os.fstat(shared.fileno()).st_size
            return isolate.Answer(answer, mmap.mmap(shared.fileno(), size) if size else b"")

    monkeypatch.setattr(worker, "limit", lambda **limits: None)
    monkeypatch.setattr("volseg.io.dicom.segmentation.limit", lambda **limits: None)
    monkeypatch.setattr("volseg.io.dicom.series.run_isolated", run)
    monkeypatch.setattr("volseg.io.dicom_seg.run_isolated", run)
    monkeypatch.setattr("volseg.io.dicom.patients.run_isolated", run)
    yield
    locale.setlocale(locale.LC_ALL, language)  # the JPEG 2000 library leaves its process in the C locale
