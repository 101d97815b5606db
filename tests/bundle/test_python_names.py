"""Names are judged by what MONAI finds under them, as it is installed here."""

from __future__ import annotations

import inspect
import sys
import warnings

import pytest

from volseg.bundle.audit.finding import Weight
from volseg.bundle.audit.python_names import judge_name

with warnings.catch_warnings():
    # ignite reaches torch.distributed.optim, which decorates functions with what torch itself deprecates
    warnings.filterwarnings("ignore", message=r"`torch\\.jit", category=DeprecationWarning)
    import ignite.engine  # noqa: F401
    from monai.bundle import ComponentLocator


def test_a_short_name_is_judged_as_the_long_one() -> None:
    """Whatever MONAI would call for a short name is refused if its full name is."""
    locator = ComponentLocator()
    locator.get_component_module_name("UNet")
    assert locator._components_table is not None
    assert len(locator._components_table) > 500
    wrong = []
    for name, modules in locator._components_table.items():
        refused = judge_name(f"{modules[0]}.{name}").weight is Weight.REFUSE
        if refused and judge_name(name).weight is not Weight.REFUSE:
            wrong.append(f"{modules[0]}.{name}")
    assert wrong == []


def test_no_module_passes_for_a_component() -> None:
    """What a known module hands out as its own is not common where it is another library: its functions follow."""
    roots = ("monai.", "torch.nn.", "torch.optim.", "torch.utils.data.", "ignite.")
    wrong = []
    for name, module in list(sys.modules.items()):
        for part, value in vars(module).items() if name.startswith(roots) and module else ():
            other = inspect.ismodule(value) and value.__name__.partition(".")[0] not in ("monai", "torch", "ignite")
            if other and part.islower() and judge_name(f"{name}.{part}").known:
                wrong.append(f"{name}.{part}")
    assert wrong == []


@pytest.mark.parametrize(
    "name",
    [
        "monai.networks.nets.unet.torch.hub.load",
        "monai.data.dataset.np.testing.measure",
        "monai.networks.nets.efficientnet.model_zoo.load_url",
        "logging.FileHandler",
        "logging.handlers.SMTPHandler",
        "typing.get_type_hints",
        "operator.call",
        "collections._sys.modules",
        "torch._dynamo.os.system",
        "ConfigExpression",
        "ckpt_export",
    ],
)
def test_by_ways_around(name: str) -> None:
    """Through a module that is known, through Python's common ones, or by a short name: refused or told to be odd."""
    judged = judge_name(name)
    assert judged.weight is Weight.REFUSE or not judged.known


@pytest.mark.parametrize(
    "name", ["monai.transforms.io.dictionary.LoadImaged", "monai.transforms.signal.array.SignalRandDrop"]
)
def test_modules_of_monais_that_are_called_as_pythons(name: str) -> None:
    """A component by its full name is as common as by its usual one."""
    assert judge_name(name).known
