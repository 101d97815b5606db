"""What every network must do, whatever its kind."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from volseg.networks import FCN, UNet

SMALL: dict[str, Any] = {"channels": (4, 6, 8)}
ANISOTROPIC: dict[str, Any] = {"kernel_sizes": [(1, 3, 3), 3, 3], "strides": [(1, 2, 2), (2, 2, 3)]}

NETWORKS = {
    "2d": lambda: UNet(2, 1, 3, **SMALL),
    "2d valid no norm": lambda: UNet(2, 2, 3, **SMALL, padding="valid", norm=None, dropout=0.3),
    "2d valid linear": lambda: UNet(2, 1, 3, **SMALL, padding="valid", upsample="linear", residual=True),
    "2d deep": lambda: UNet(2, 1, 2, **SMALL, deep_supervision=True, activation="leaky_relu"),
    "3d": lambda: UNet(3, 1, 2, **SMALL),
    "3d anisotropic linear": lambda: UNet(3, 1, 2, **SMALL, **ANISOTROPIC, upsample="linear", norm="instance"),
    "3d paper's kind": lambda: UNet.paper_3d(1, 2, channels=((4, 8), (8, 16))),
    "fcn 32s": lambda: FCN(2, 1, 2, variant="32s", channels=(4, 4, 6, 8, 8), classifier_channels=16),
    "fcn 8s 3d": lambda: FCN(3, 1, 2, channels=(2, 4, 4, 6, 6), convs_per_stage=(1,) * 5, classifier_channels=16),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> UNet | FCN:
    """Each network in turn, with batch statistics that are not those of the start."""
    torch.manual_seed(0)
    built: UNet | FCN = NETWORKS[request.param]()
    for name, buffer in built.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return built


def sample(network: UNet | FCN, batch: int = 2) -> Tensor:
    """An input the network takes, of unequal sizes."""
    size = (axis.next_valid(n) for axis, n in zip(network.shape.axes, (14, 20, 33), strict=False))
    return torch.randn(batch, network.in_channels, *size)


def test_forward_has_the_promised_size(network: UNet | FCN) -> None:
    """One finite tensor in eval mode, of the size that the shape tells."""
    x = sample(network)
    out = network.eval()(x)
    assert isinstance(out, Tensor)
    assert tuple(out.shape) == (2, network.out_channels, *network.shape.output_size(x.shape[2:]))
    assert out.isfinite().all()
    assert out.any()


def test_backward_reaches_every_parameter(network: UNet | FCN) -> None:
    """A loss of all outputs gives every parameter a finite gradient."""
    outputs = network.train()(sample(network))
    loss = sum((out.square().mean() for out in (outputs if isinstance(outputs, list) else [outputs])), torch.zeros(()))
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    heads = [p for name, p in network.named_parameters() if name.startswith(("head", "deep_heads", "scores"))]
    assert all(p.grad is not None and p.grad.any() for p in heads)


def test_the_state_dict_makes_a_round_trip(network: UNet | FCN, request: pytest.FixtureRequest) -> None:
    """Saved, read back weights-only and loaded strictly into a fresh network, the weights give the same bits."""
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other = NETWORKS[request.node.callspec.params["network"]]()
    x = sample(network)
    network.eval(), other.eval()
    assert not torch.equal(network(x), other(x))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(network(x), other(x))


def test_torch_export_keeps_the_values(network: UNet | FCN) -> None:
    """The exported program gives the network's output."""
    x = sample(network)
    network.eval()
    program = torch.export.export(network, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), network(x), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["2d", "2d valid no norm", "fcn 32s"])
def test_torch_export_takes_sizes_of_its_own(kind: str) -> None:
    """Exported with free sizes and batch, the program gives the network's output for another size."""
    network = NETWORKS[kind]().eval()
    size = network.shape.next_valid((50, 70))
    x = torch.randn(2, network.in_channels, *size)
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(network, (x,), dynamic_shapes={"x": free})
    other = torch.randn(3, network.in_channels, size[0], size[1] + 2 * network.shape.total_stride[1])
    with torch.no_grad():
        torch.testing.assert_close(program.module()(other), network(other), rtol=0, atol=1e-4)


# torch's own exporter walks its graph with a check that torch itself has deprecated
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning")
def test_onnx_keeps_the_values(network: UNet | FCN, tmp_path: Path) -> None:
    """ONNX Runtime gives the network's output within 1e-4."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    x = sample(network)
    network.eval()
    path = tmp_path / "network.onnx"
    torch.onnx.export(network, (x,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(out), network(x), rtol=0, atol=1e-4)


def test_autocast_to_bfloat16_stays_near(network: UNet | FCN) -> None:
    """Under autocast the logits are bfloat16, finite and near those in full precision, and training steps work."""
    x = sample(network)
    network.eval()
    with torch.no_grad():
        expected = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            out = network(x)
    assert out.dtype == torch.bfloat16
    assert (out.float() - expected).norm() < 0.1 * expected.norm()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = network.train()(x)
    (outputs[0] if isinstance(outputs, list) else outputs).float().square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_importing_the_networks_imports_torch_alone() -> None:
    """Neither MONAI nor ignite is needed to build and run a network."""
    code = (
        "import sys, torch; from volseg.networks import UNet; UNet.slim(2)(torch.zeros(2, 1, 16, 16));"
        "found = {'monai', 'ignite', 'nibabel', 'SimpleITK'} & set(sys.modules); sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
