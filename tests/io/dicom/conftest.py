"""What tests of DICOM share: the child's jobs run in this process where the child itself is not what is tested."""

from __future__ import annotations

import json
import locale
import mmap
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from volseg.io.dicom import isolate, worker


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Starting a child for each of a hundred small series would cost minutes; the job is the same here.

    What crosses the border is still turned into JSON and back.
    """
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
    yield
    locale.setlocale(locale.LC_ALL, language)  # the JPEG 2000 library leaves its process in the C locale
