"""bfloat16 only where the CPU has instructions for it: elsewhere it is single precision, or told."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.cpu import with_bfloat16
from volseg.engine.probe import Choice, candidates
from volseg.errors import UsageError
from volseg.inference.arithmetic import native, possible
from volseg.inference.overlap_tile import OverlapTileInferer
from volseg.inference.predictor import Predictor
from volseg.inference.stream import Decision
from volseg.labels import Labels
from volseg.networks import UNet
from volseg.transforms.preparation import Preparation

CPU = torch.device("cpu")


@pytest.mark.parametrize("has", [False, True])
def test_what_a_cpu_computes(has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision never, bfloat16 by the processor, and what it cannot is float32."""
    with_bfloat16(monkeypatch, has)
    assert native(CPU) == (("float32", "bf16") if has else ("float32",))
    assert possible("bf16", CPU) == ("bf16" if has else "float32")
    assert (possible("fp16", CPU), possible("float32", CPU)) == ("float32", "float32")


@pytest.mark.parametrize(
    ("generation", "found"), [(7, ("float32", "fp16")), (8, ("float32", "bf16", "fp16"))], ids=["T4", "A100"]
)
def test_what_a_gpu_computes(generation: int, found: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision always; bfloat16 not where PyTorch would emulate it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=generation))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    assert native(torch.device("cuda")) == found


def test_without_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of PyTorch without oneDNN has nothing that could compute it."""
    with_bfloat16(monkeypatch, True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert native(CPU) == ("float32",)


@pytest.mark.parametrize("has", [False, True])
def test_a_prediction_in_bfloat16(has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is one in float32, to the bit, where the processor lacks it; and its record says which it was."""
    with_bfloat16(monkeypatch, has)
    torch.manual_seed(0)
    network = UNet(2, 1, 2, channels=(4, 8)).eval()
    image = torch.rand(1, 1, 32, 32)
    same = torch.equal(OverlapTileInferer(precision="bf16")(image, network), OverlapTileInferer()(image, network))
    assert same is not has
    predictor = Predictor([network], Preparation(), Decision((0, 1)), Labels.of({"a": 1}), precision="bf16")
    assert predictor.settings["precision"] == ("bf16" if has else "float32")


def test_no_arithmetic_of_that_name() -> None:
    """Is refused, not taken for float32."""
    with pytest.raises(UsageError, match="precision is float32, bf16, fp16, not 'int8'"):
        Predictor([UNet(2, 1, 2)], Preparation(), Decision((0, 1)), Labels.of({"a": 1}), precision="int8")  # type: ignore[arg-type]


@pytest.mark.parametrize("has", [False, True])
def test_a_training_tries_it(has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own accord only where the processor has it; asked for, it is taken."""
    with_bfloat16(monkeypatch, has)
    tried = {choice.precision for choice in candidates("auto", "auto", CPU)}
    assert tried == ({"float32", "bf16"} if has else {"float32"})
    assert candidates("bf16", False, CPU) == [Choice("bf16", False)]
