from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from volseg.bundle.exporting import network as exporting
from volseg.bundle.exporting.agreement import hold
from volseg.bundle.exporting.network import export_onnx, export_program
from volseg.bundle.load import load_bundle
from volseg.errors import BundleError, MissingExtra
from volseg.inference.stream import Decision


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["volume", "slices", "elsewhere"])
def test_an_exported_network_is_the_network(kind: str, trained: Callable[..., Path], tmp_path: Path) -> None:
    """ONNX and torch.export give the network's logits and labels, for sizes that the exporter never saw."""
    onnxruntime = pytest.importorskip("onnxruntime")
    changes = {
        "volume": {},
        "slices": {"network__spatial_dims": 2, "network__strides": 2, "network__kernel_sizes": 3,
                   "training__patch": [32, 32], "inference__tta": None},
        "elsewhere": {"network": {"kind": "monai_basic_unet", "features": [4, 4, 8, 8, 8, 4]},
                      "training__patch": [32, 32, 32], "inference__tta": None},
    }[kind]  # fmt: skip
    bundle = load_bundle(trained(**changes))
    network = bundle.network()
    assert export_onnx(bundle, tmp_path / "network.onnx").labels >= 0.9999
    assert export_program(bundle, tmp_path / "network.pt2").largest <= 1e-4
    size = [3 * max(stride, 8) for stride in bundle.recipe.shape.total_stride]
    image = torch.randn(3, 1, *size)
    with torch.no_grad():
        own = network(image)
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    [found] = session.run(["pred"], {"image": image.numpy()})
    assert np.abs(found - own.numpy()).max() < 1e-4
    program = torch.export.load(tmp_path / "network.pt2").module()
    assert torch.allclose(program(image), own, atol=1e-5)


def test_another_network_is_noticed() -> None:
    """Logits that differ by more than a rounding, or labels that do, are no export."""
    torch.manual_seed(2)
    network = nn.Conv2d(1, 2, 1)
    inputs = [torch.randn(1, 1, 8, 8)]
    assert hold(network, network, inputs, Decision((0, 1)), "here").largest == 0
    agreed = hold(network, lambda image: network(image) + 5e-5, inputs * 3, Decision((0, 1)), "here")
    assert (agreed.inputs, agreed.labels) == (3, 1)
    largest = max(1.0, float(network(inputs[0]).detach().abs().max()))  # a rounding grows with what is rounded
    assert agreed.largest == pytest.approx(5e-5 / largest, rel=0.1)
    with pytest.raises(BundleError) as caught:
        hold(network, lambda image: -network(image), inputs, Decision((0, 1)), "here")
    assert re.fullmatch(
        r"here: the exported network is another: logits differ by \d\.\de\+00, 0\.0000% of labels are equal; "
        r"the file was not kept; tell us, with the recipe",
        str(caught.value),
    )
    with pytest.raises(BundleError, match="the exported network is another"):
        hold(network, lambda image: network(image) + 1e-3, inputs, Decision((0, 1)), "here")
    with pytest.raises(BundleError, match="the exported network is another"):
        hold(network, lambda image: network(image) * float("nan"), inputs, Decision((0, 1)), "here")


def test_what_is_not_installed_is_a_line(
    trained: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra, exporting to ONNX says how to get it."""
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r'pip install "\.\[onnx\]"'):
        export_onnx(load_bundle(trained()), tmp_path / "network.onnx")


def test_what_cannot_be_exported_is_a_line_and_no_file(
    trained: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter that fails, for whatever reason, leaves nothing behind."""

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand a page more")

    monkeypatch.setattr(torch.export, "export", fails)
    with pytest.raises(BundleError, match=r": its network cannot be exported: no such operator$"):
        export_program(load_bundle(trained()), tmp_path / "network.pt2")
    assert not (tmp_path / "network.pt2").exists()
