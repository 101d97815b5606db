"""The fully convolutional baseline."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from volseg.errors import SizeError, UsageError
from volseg.networks import FCN


def small(variant: Any = "8s", **changes: Any) -> FCN:
    """An FCN of few channels."""
    settings = {"channels": (2, 2, 3, 4, 5), "classifier_channels": 6, **changes}
    return FCN(2, 1, 3, variant=variant, **settings)


def test_the_papers_network_is_vgg_16() -> None:
    """Its convolutional classifier has the 134,260,544 parameters of VGG-16 without the last layer."""
    with torch.device("meta"):
        network = FCN.paper_2d(variant="32s")
    body = [*network.stages.parameters(), *network.classifier.parameters()]
    assert sum(p.numel() for p in body) == 134_260_544


@pytest.mark.parametrize(("variant", "strides"), [("32s", [32]), ("16s", [32, 16]), ("8s", [32, 16, 8])])
def test_scores_are_fused_at_the_variants_strides(variant: str, strides: list[int]) -> None:
    """Each variant scores at its strides, and what it gives is the up-sampled sum of these scores."""
    network = small(variant).eval()
    scores: list[torch.Tensor] = []
    for score in network.scores:
        score.register_forward_hook(lambda module, inputs, output: scores.append(output))
    with torch.no_grad():
        out = network(torch.rand(1, 1, 64, 96))
        fused = scores[0]
        for up, score in zip(network.ups[:-1], scores[1:], strict=True):
            fused = up(fused) + score
        assert torch.equal(network.ups[-1](fused), out)
    assert [(64 // s.shape[2], 96 // s.shape[3]) for s in scores] == [(s, s) for s in strides]


def test_up_sampling_starts_as_linear_interpolation() -> None:
    """Away from the border the learned up-sampling starts as torch's bilinear one."""
    up = small("16s").ups
    x = torch.rand(1, 3, 6, 6)
    for layer, factor in ((up[0], 2), (up[1], 16)):
        with torch.no_grad():
            got = layer(x)
        expected = F.interpolate(x, scale_factor=factor, mode="bilinear")
        inside = (..., slice(factor, -factor), slice(factor, -factor))
        torch.testing.assert_close(got[inside], expected[inside])


def test_a_size_that_32_does_not_divide_is_refused() -> None:
    """The error names the nearest size."""
    with pytest.raises(SizeError, match=r"^size 64x40 does not fit: axis 1 takes 32k, not 40; nearest 64x32$"):
        small()(torch.zeros(1, 1, 64, 40))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"variant": "4s"}, "variant must be one of 32s, 16s, 8s, not '4s'"),
        ({"channels": (4, 4)}, "a fully convolutional network has five stages"),
        ({"channels": (4, 4, 4, 4, 0)}, "every layer of a network needs at least one channel"),
        ({"dropout": -0.1}, "dropout must be from 0 to below 1, not -0.1"),
        ({"classifier_kernel": 4}, "kernel sizes must be odd"),
    ],
)
def test_an_impossible_fcn_is_refused(arguments: dict[str, Any], text: str) -> None:
    """An impossible setting is refused in one line."""
    with pytest.raises(UsageError) as error:
        small(**arguments)
    assert str(error.value).startswith(text)
