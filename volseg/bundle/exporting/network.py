"""``volseg bundle export``: a bundle's network as ONNX, or as an exported program of torch's."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from volseg.bundle.exporting.agreement import Agreement, hold, inputs_of
from volseg.bundle.load import Bundle
from volseg.engine import compose
from volseg.errors import BundleError, MissingExtra
from volseg.io.atomic import write_bytes

#: the set of ONNX operators, unless another is asked for
OPSET = 20
INPUT, OUTPUT = "image", "pred"


def export_onnx(bundle: Bundle, out: str | os.PathLike[str], *, opset: int = OPSET) -> Agreement:
    """Write the network as ONNX; its spatial axes take every size that the network takes, its batch any.

    The input is called ``image`` and is what the preparation gives, the output ``pred`` is logits. The file is kept
    only if onnxruntime gives the network's own logits and labels on random and phantom inputs of several sizes.

    Raises:
        MissingExtra: if onnx, onnxscript or onnxruntime is not installed.
        BundleError: if the network cannot be exported, or the exported one is another.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise MissingExtra.of(package, extra="onnx", purpose="exporting to ONNX")
    network = bundle.network()
    inputs = inputs_of(bundle, bundle.recipe.shape)
    with TemporaryDirectory(prefix="volseg-export-") as folder:
        made = Path(folder) / "network.onnx"

        def export() -> None:
            program = torch.onnx.export(
                network,
                (_twice(inputs[0]),),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=(_free(inputs[0]),),
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
            assert program is not None  # it is with dynamo
            program.save(str(made), external_data=False)

        _tried(export, bundle)
        agreement = hold(network, _onnxruntime(made), inputs, _decision(bundle), out)
        write_bytes(Path(out), made.read_bytes())
    return agreement


def export_program(bundle: Bundle, out: str | os.PathLike[str]) -> Agreement:
    """Write the network as ``torch.export`` writes programs, checked like :func:`export_onnx`.

    Raises:
        BundleError: if the network cannot be exported, or the exported one is another.
    """
    network = bundle.network()
    inputs = inputs_of(bundle, bundle.recipe.shape)
    with TemporaryDirectory(prefix="volseg-export-") as folder:
        made = Path(folder) / "network.pt2"

        def export() -> nn.Module:
            program = torch.export.export(network, (_twice(inputs[0]),), dynamic_shapes=(_free(inputs[0]),))
            torch.export.save(program, made)
            return torch.export.load(made).module()

        agreement = hold(network, _tried(export, bundle), inputs, _decision(bundle), out)
        write_bytes(Path(out), made.read_bytes())
    return agreement


def _twice(image: Tensor) -> Tensor:
    """A batch of two: a size of one would be taken for a constant."""
    return torch.cat([image, image])


def _free(image: Tensor) -> dict[int, Any]:
    return dict.fromkeys((0, *range(2, image.ndim)), torch.export.Dim.DYNAMIC)


def _decision(bundle: Bundle) -> Any:
    return compose.build(compose.decision_part(bundle.recipe))


def _onnxruntime(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: image.numpy()})[0])

    return run


def _tried(export: Callable[[], Any], bundle: Bundle) -> Any:
    try:
        with _quiet():
            return export()
    except Exception as error:  # torch's exporters raise whatever the graph makes them meet
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BundleError(f"its network cannot be exported: {first[:200]}", where=bundle.where) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporters print, warn and log on their way."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
