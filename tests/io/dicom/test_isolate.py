"""What goes wrong in the DICOM child costs one clear line, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless, RLELossless

from volseg.errors import MissingExtra, VolumeError
from volseg.io.dicom import isolate, list_series, outline_series, read_series
from volseg.io.dicom.isolate import Budget, run_isolated
from volseg.io.dicom.patients import patients_of
from volseg.io.dicom_seg import read_dicom_seg, write_dicom_seg
from volseg.labels import Labels

Series = Callable[..., list[Path]]
SMALL = Budget(memory=1 << 31, seconds=5)

# The real child, its job replaced by something a parser might do to it.
CHILD = """
import sys
from volseg.io.dicom import worker
{body}
worker._JOBS["{name}"] = "__main__:job"
worker.main()
"""


def child(monkeypatch: pytest.MonkeyPatch, body: str, name: str = "read") -> None:
    monkeypatch.setattr(isolate, "COMMAND", (sys.executable, "-P", "-c", CHILD.format(body=body, name=name)))


def told(budget: Budget = SMALL) -> str:
    with pytest.raises(VolumeError) as caught:
        run_isolated({"job": "read"}, where="scan", budget=budget)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_crash_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmentation fault in a codec does not take the caller down."""
    child(monkeypatch, "def job(request):\n    import os, signal\n    os.kill(os.getpid(), signal.SIGSEGV)")
    assert told() == (
        "scan: the DICOM reader crashed on it (SIGSEGV); a file in it is damaged or hostile: export the series again"
    )


def test_a_memory_bomb_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child may not take more address space than files of this size deserve."""
    child(monkeypatch, "def job(request):\n    return {'size': len(bytearray(3 << 30))}")
    assert told() == (
        "scan: needs more than the 2048 MiB that reading files of this size may take;"
        " a file in it is damaged or hostile: export the series again"
    )


def test_an_endless_loop_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processor time is limited too, however long the clock on the wall takes for it on a busy machine."""
    monkeypatch.setattr(isolate, "WALL_PER_CPU_SECOND", 200)
    child(monkeypatch, "def job(request):\n    while True: pass")
    assert told(Budget(memory=1 << 31, seconds=1)) == (
        "scan: took more than 1 s to read, far beyond its size;"
        " a file in it is damaged or hostile: export the series again"
    )


def test_waiting_for_ever_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that sleeps uses no processor time, and is ended by the clock on the wall."""
    monkeypatch.setattr(isolate, "WALL_PER_CPU_SECOND", 2)
    child(monkeypatch, "def job(request):\n    import time\n    time.sleep(60)")
    assert told(Budget(memory=1 << 31, seconds=1)).startswith("scan: took more than 2 s to read")


def test_a_library_that_exits_or_answers_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer, half an answer, an answer of the wrong kind: all told, none believed."""
    child(monkeypatch, "def job(request):\n    import os\n    os._exit(7)")
    assert told() == "scan: the DICOM reader ended early (exit code 7); export the series again"
    for nonsense in ("'not json'", "'[1, 2]'", "''"):
        monkeypatch.setattr(isolate, "COMMAND", (sys.executable, "-c", f"print({nonsense}, end='')"))
        assert told() == "scan: the DICOM reader gave no answer; export the series again"


def test_what_libraries_print_never_reaches_answer_or_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither Python's nor a C library's output, on either stream."""
    body = (
        "def job(request):\n    import os, logging, warnings\n    print('noise')\n    os.write(1, b'noise')\n"
        "    os.write(2, b'noise')\n    logging.error('noise')\n    warnings.warn('noise')\n    return {'fine': 1}"
    )
    child(monkeypatch, body)
    assert run_isolated({"job": "read"}, where="scan", budget=SMALL).facts == {"fine": 1}
    assert capfd.readouterr() == ("", "")


def test_an_unforeseen_error_is_named_without_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library's words may quote the patient's name from a header."""
    child(monkeypatch, "def job(request):\n    raise KeyError('Mustermann^Erika')")
    assert told() == "scan: cannot be parsed (KeyError); export the series again"


def test_an_answer_with_foreign_kinds_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only our own few errors can come back, and only as text."""
    error = {"error": {"kind": "SystemExit", "what": "x", "where": None, "mend": None}}
    monkeypatch.setattr(
        isolate, "COMMAND", (sys.executable, "-c", f"print({json.dumps(error)!r})".replace("\\\\", "\\"))
    )
    assert told() == "scan: x"


@pytest.mark.parametrize(
    "lie",
    [
        {"shape": [9, 9, 9]},
        {"shape": [600]},
        {"dtype": "object"},
        {"dtype": "complex64"},
        {"affine": [[1]]},
        {"header": {}},
        {"notes": None},
        {"padding": "none"},
    ],
)
def test_an_answer_that_lies_is_refused(
    dicom_series: Series, monkeypatch: pytest.MonkeyPatch, lie: dict[str, Any]
) -> None:
    """Shape, type and bytes must agree, and all that a volume needs be there, before anything is made of it."""
    header = dict.fromkeys(("format", "modality", "series", "sop_class", "transfer_syntax"), "x")
    honest: dict[str, Any] = {
        "shape": [10, 12, 5],
        "dtype": "int16",
        "affine": np.eye(4).tolist(),
        "notes": [],
        "padding": None,
        "header": header,
    }
    body = "def job(request):\n    import os\n    os.ftruncate(request['shared'], 1200)\n    return {!r}"
    folder = dicom_series()[0].parent
    child(monkeypatch, body.format(honest))
    assert read_series(folder).array.shape == (10, 12, 5)
    child(monkeypatch, body.format(honest | lie))
    with pytest.raises(VolumeError, match="gave an answer that makes no sense; export the series again"):
        read_series(folder)


def test_other_answers_that_make_no_sense(
    dicom_series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing, an outline and a segmentation are taken on trust as little as voxels are."""
    file = dicom_series()[0]
    for name, ask in (("list", list_series), ("outline", outline_series), ("read_seg", read_dicom_seg)):
        child(monkeypatch, "def job(request):\n    return {'series': [{}], 'shape': [2, 2]}", name)
        with pytest.raises(VolumeError, match="gave an answer that makes no sense"):
            ask(file)  # type: ignore[operator]


def test_an_answer_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one that is no object."""
    monkeypatch.setattr(isolate, "LONGEST_ANSWER", 1000)
    child(monkeypatch, "def job(request):\n    return {'x': 'x' * 1000}")
    assert told() == "scan: the DICOM reader gave no answer; export the series again"
    monkeypatch.setattr(isolate, "COMMAND", (sys.executable, "-c", "print([1])"))
    assert told() == "scan: the DICOM reader gave no answer; export the series again"


def test_a_reader_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python that is gone, or no room for another process."""
    monkeypatch.setattr(isolate, "COMMAND", ("/no/such/python",))
    assert told() == "scan: the DICOM reader could not be started: No such file or directory"


def test_a_signal_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by its number."""
    number = signal.SIGRTMIN + 3
    child(monkeypatch, f"def job(request):\n    import os\n    os.kill(os.getpid(), {number})")
    assert told().startswith(f"scan: the DICOM reader crashed on it (signal {number}); ")


def test_voxels_pass_through_a_file_where_memory_has_no_name(
    dicom_series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On systems without memfd_create."""
    folder = dicom_series()[0].parent
    whole = read_series(folder).array
    monkeypatch.delattr(os, "memfd_create")
    np.testing.assert_array_equal(read_series(folder).array, whole)


def test_whose_files_are_is_parsed_in_the_child_too(dicom_series: Series, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that crashes is one line about the folder, and so is an answer about fewer files."""
    files = dicom_series()
    child(monkeypatch, "def job(request):\n    import os, signal\n    os.kill(os.getpid(), signal.SIGSEGV)", "patients")
    with pytest.raises(VolumeError, match=rf"^{files[0].parent}: the DICOM reader crashed on it \(SIGSEGV\)"):
        patients_of(files)
    child(monkeypatch, "def job(request):\n    return {'patients': [None]}", "patients")
    with pytest.raises(VolumeError, match="gave an answer that makes no sense"):
        patients_of(files)


def test_nothing_about_the_patient_leaves_the_reader(dicom_series: Series) -> None:
    """Neither the volume's header and notes nor the listing repeats a name or an identifier."""
    folder = dicom_series(edit=lambda ds, k: setattr(ds, "PhotometricInterpretation", "MONOCHROME1"))[0].parent
    volume = read_series(folder)
    told = f"{dict(volume.header)} {volume.notes} {list_series(folder)}"
    assert not any(secret in told for secret in ("Mustermann", "Erika", "SECRET"))
    assert volume.notes == ("MONOCHROME1 (shown inverted): the values are kept as stored",)


def test_a_codec_that_is_not_installed_is_named_with_its_extra(
    dicom_series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    """High-throughput JPEG 2000 is the one syntax that needs an optional package."""
    without = """
from pydicom.pixels.decoders import HTJ2KLosslessDecoder
HTJ2KLosslessDecoder._available.clear()
from volseg.io.dicom.worker import main
main()
"""
    monkeypatch.setattr(isolate, "COMMAND", (sys.executable, "-P", "-c", without))
    file = dicom_series(slices=1)[0]
    dataset = dcmread(file)
    dataset.PixelData = encapsulate([dataset.PixelData])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
    dataset.save_as(file, implicit_vr=False, little_endian=True)
    with pytest.raises(MissingExtra, match=r'needs pylibjpeg-openjpeg; pip install "\.\[dicom-codecs\]"'):
        read_series(file)


def test_a_segmentation_goes_through_the_child_and_back(dicom_series: Series, tmp_path: Path) -> None:
    """Voxels cross the border in both directions unchanged."""
    volume = read_series(dicom_series()[0].parent)
    labels = Labels.of({"liver": 4})
    mask = np.where(volume.array % 7 == 0, 4, 0).astype(np.uint8)
    write_dicom_seg(tmp_path / "mask.dcm", mask, volume, labels)
    back, _ = read_dicom_seg(tmp_path / "mask.dcm", grid=volume.grid, labels=labels)
    np.testing.assert_array_equal(back.array, mask)


def test_absurd_sizes_are_refused_before_anything_is_allocated(dicom_series: Series) -> None:
    """A small file that claims gigabytes is a lie, whatever its syntax."""

    def edit(ds: object, k: int) -> None:
        ds.compress(RLELossless, generate_instance_uid=False)  # type: ignore[attr-defined]

    files = dicom_series(edit=edit)
    for file in files:
        ds = dcmread(file)
        ds.Rows = ds.Columns = 65535
        ds.save_as(file)
    with pytest.raises(VolumeError, match=r"says it holds 1 x 65535x65535 pixels \(8191 MiB\), far more than"):
        read_series(files[0].parent)


def test_modules_in_the_working_folder_are_not_run(
    dicom_series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file called ``json.py`` beside the data is data."""
    folder = dicom_series()[0].parent
    (folder / "json.py").write_text("raise SystemExit('executed')")
    (folder / "pydicom.py").write_text("raise SystemExit('executed')")
    monkeypatch.chdir(folder)
    assert read_series(folder).notes == ("2 files skipped: not DICOM",)


def test_nothing_is_left_behind(dicom_series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither temporary files nor open descriptors, whether reading succeeds or fails."""
    folder, scratch = dicom_series()[0].parent, tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    before = descriptors()
    volume = read_series(folder)
    child(monkeypatch, "def job(request):\n    import os\n    os._exit(7)")
    told()
    assert list(scratch.iterdir()) == []
    del volume
    assert descriptors() == before


def descriptors() -> int:
    """How many files this process holds open, where the system tells."""
    folder = Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
