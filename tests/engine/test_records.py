"""What a run writes down: the log and the table, Dice, choices, pictures, and other recorders."""

from __future__ import annotations

import io
import json
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cpu import with_bfloat16
from volseg.engine.log import RunLog
from volseg.engine.pictures import curves, overlay
from volseg.engine.probe import Choice, candidates, choose, in_layout
from volseg.engine.run_folder import plain_weights
from volseg.engine.tracking import tensorboard, tracker
from volseg.engine.validation import JudgeCase, MeanDice, mean_dice, means
from volseg.errors import MemoryLimitError, UsageError, WriteError
from volseg.inference.stream import Decision
from volseg.labels import Labels
from volseg.losses import EnergyLoss
from volseg.networks import UNet

LABELS = Labels.of({"a": 3, "b": 7})


def epoch(number: int, **more: object) -> dict[str, object]:
    return {"event": "epoch", "epoch": number, "iteration": 10 * number, "loss": 1.0, "lr": 0.1, "seconds": 1.0, **more}


def test_the_log_goes_on_where_it_was(tmp_path: Path) -> None:
    """Another process reads what was told, forgets what is about to happen again, and half a line of a killed run."""
    log = RunLog(tmp_path)
    for number in (1, 2, 3):
        log(epoch(number, dice=0.5 if number == 2 else nan, labels={"a": 0.25}))
    with log.path.open("a") as file:
        file.write('{"event": "epo')
    again = RunLog(tmp_path)
    assert len(again.epochs) == 3
    again.back_to(20)
    again(epoch(3, dice=0.75, labels={"a": 0.5}))
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "epoch,iteration,loss,lr,seconds,dice,dice a",
        "1,10,1.0,0.1,1.0,,0.25",
        "2,20,1.0,0.1,1.0,0.5,0.25",
        "3,30,1.0,0.1,1.0,0.75,0.5",
    ]


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """And not a silence."""
    log = RunLog(tmp_path / "gone")
    with pytest.raises(WriteError, match=r"log\.jsonl: could not be written"):
        log(epoch(1))


def test_dice_is_over_cases_then_structures() -> None:
    """Undefined ones are left out, as nnU-Net does."""
    scores = {"p": {"a": 1.0, "b": nan}, "q": {"a": 0.0, "b": nan}, "r": {"a": nan, "b": 0.8}}
    assert means(scores, ["a", "b"]) == {"a": 0.5, "b": 0.8}
    assert mean_dice(scores, ["a", "b"]) == pytest.approx(0.65)
    assert isnan(mean_dice({"p": {"a": nan}}, ["a"]))


def test_a_case_is_judged_by_its_values() -> None:
    """A network that copies its input is right wherever the input shows the truth."""

    class Shows(torch.nn.Module):
        spatial_dims = 2

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([-(x - k).abs() for k in range(3)], dim=1)

    class Evaluator:
        network = Shows()

    truth = np.random.default_rng(0).integers(0, 3, (32, 40)).astype(np.uint8)
    image = torch.from_numpy(truth.astype(np.float32))[None].clone()
    image[0, :16] = 0
    judged = JudgeCase(Decision((0, 3, 7)), LABELS)(Evaluator(), {"case": "x", "image": image, "truth": truth})
    expected = np.where(np.arange(32)[:, None] < 16, 0, truth)
    assert np.array_equal(judged["prediction"], expected)
    for number, name in ((1, "a"), (2, "b")):
        both = np.sum((expected == number) & (truth == number))
        assert judged["dice"][name] == 2 * both / (np.sum(expected == number) + np.sum(truth == number))
    metric = MeanDice(LABELS.names)
    metric.update(judged)
    assert metric.compute() == pytest.approx(sum(judged["dice"].values()) / 2)


def test_choices_are_tried_and_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest is one of those allowed; network and random numbers are as before."""
    network = UNet(2, 1, 2, channels=(4, 8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.random.get_rng_state()
    with_bfloat16(monkeypatch, True)
    allowed = candidates("auto", "auto", torch.device("cpu"))
    chosen, seconds = choose(network, EnergyLoss(), (2, 1, 32, 32), allowed, torch.device("cpu"), repeats=1)
    assert chosen in allowed
    assert set(seconds) == {str(choice) for choice in allowed}
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None and p.is_contiguous() for p in network.parameters())


class _Hungry(torch.nn.Conv2d):
    """Says that memory ran out, in the arithmetic that it is told, or in any."""

    def __init__(self, only: torch.dtype | None) -> None:
        super().__init__(1, 2, 3, padding=1)
        self.only = only

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = super().forward(x)
        if self.only in (None, made.dtype):
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return made


def test_what_finds_no_memory_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """And if nothing does, the settings to change are named."""
    with_bfloat16(monkeypatch, True)
    allowed, cpu = candidates("auto", False, torch.device("cpu")), torch.device("cpu")
    chosen, seconds = choose(_Hungry(torch.float32), EnergyLoss(), (1, 1, 8, 8), allowed, cpu, repeats=1)
    assert (chosen.precision, list(seconds)) == ("bf16", ["bf16, channels first"])
    with pytest.raises(MemoryLimitError, match=r"make training\.batch or training\.patch smaller"):
        choose(_Hungry(None), EnergyLoss(), (1, 1, 8, 8), allowed, cpu)


def test_the_probe_can_be_left() -> None:
    """Before any of its steps."""
    allowed, cpu, asked = candidates("auto", "auto", torch.device("cpu")), torch.device("cpu"), iter(range(5))
    with pytest.raises(StopIteration):
        choose(UNet(2, 1, 2, channels=(4, 8)), EnergyLoss(), (1, 1, 16, 16), allowed, cpu, between=lambda: next(asked))


def test_what_a_recipe_fixes_is_not_tried() -> None:
    """And fp16 is refused where there is no scaler for it."""
    only = [Choice("bf16", True)]
    assert candidates("bf16", True, torch.device("cpu")) == only
    assert choose(torch.nn.Identity(), torch.nn.Identity(), (1, 1, 4), only, torch.device("cpu")) == (only[0], {})
    with pytest.raises(UsageError, match=r"fp16 needs a CUDA device, not cpu; set training\.precision"):
        candidates("fp16", "auto", torch.device("cpu"))


def test_a_layout_changes_no_result() -> None:
    """Weights are stored alike, in the plain layout, whatever the layout they were trained in."""
    network = UNet(3, 1, 2, channels=(4, 8), norm="batch").eval()
    plain = plain_weights(network.state_dict())
    image = torch.rand(1, 1, 8, 8, 8)
    expected = network(image)
    in_layout(network, True)
    torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-5)
    stored = plain_weights(network.state_dict())
    assert all(torch.equal(stored[name], plain[name]) and stored[name].is_contiguous() for name in plain)


def test_pictures_are_pictures() -> None:
    """Curves with gaps, volumes and single images, an empty truth and the ignore value."""
    told = [epoch(1), epoch(2, dice=0.5, labels={"a": 0.5, "b": None}), epoch(3, loss=None)]
    assert Image.open(io.BytesIO(curves(told))).size[0] > 300
    for shape in ((20, 30), (20, 30, 4)):
        image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        truth = np.zeros(shape, dtype=np.uint8)
        drawn = Image.open(io.BytesIO(overlay(image, truth, truth + 3, LABELS, dice={"a": nan, "b": 0.5})))
        assert len(np.unique(np.asarray(drawn))) > 20
        truth[5:9, 5:9] = 1
        more = Image.open(io.BytesIO(overlay(image, truth, truth, LABELS, dice={})))
        red, _, blue = (np.asarray(more)[..., channel].astype(int) for channel in (0, 1, 2))
        assert (red - blue > 60).any(), "the first structure's orange is nowhere"


def test_tensorboard_holds_the_numbers(tmp_path: Path) -> None:
    """Loss and Dice by step; what a killed run wrote too much is dropped when it is taken up."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for resumed in (None, 10):
        listener = tensorboard(tmp_path)
        assert listener is not None
        if resumed is not None:
            listener({"event": "resumed", "iteration": resumed})
        for number in (1, 2) if resumed is None else (2,):
            listener(epoch(number, loss=0.5 if resumed is None else 0.25, dice=0.5, labels={"a": 0.5}))
        listener({"event": "end"})
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(point.step, point.value) for point in found.Scalars("loss")] == [(10, 0.5), (20, 0.25)]
    assert "dice/a" in found.Tags()["scalars"]


def test_an_unknown_recorder_is_refused(tmp_path: Path) -> None:
    """By name."""
    with pytest.raises(UsageError, match="'wandb'; mlflow is known"):
        tracker("wandb", tmp_path)
