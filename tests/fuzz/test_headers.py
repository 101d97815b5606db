"""What fuzzing found stays found: every input is read, or refused in one line, in bounded memory."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from volseg.errors import VolsegError
from volseg.io import read_labels, read_volume

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
CORPUS = sorted(path for path in Path(__file__).with_name("corpus").glob("*/*") if path.parent.name in ENDINGS)


def test_the_corpus_is_here() -> None:
    """Each format has its inputs."""
    assert {path.parent.name for path in CORPUS} == set(ENDINGS)


@pytest.mark.parametrize("case", CORPUS, ids=[f"{path.parent.name}-{path.name}" for path in CORPUS])
def test_input(case: Path, tmp_path: Path) -> None:
    """The input is read into no more than it can hold, or refused in one line."""
    data = case.read_bytes()
    path = tmp_path / f"case{ENDINGS[case.parent.name]}"
    path.write_bytes(gzip.compress(data, 1, mtime=0) if case.parent.name == "packed" else data)
    for read in (read_volume, read_labels):
        try:
            volume = read(path)
        except VolsegError as error:
            line = str(error)
        else:
            assert volume.array.nbytes <= 8 * 1032 * len(data)
            continue
        assert line.startswith(str(path))
        assert "\n" not in line
