"""What honest configs say is listed and not refused; what hides is refused."""

from __future__ import annotations

import pytest

from volseg.bundle.audit.expressions import judge_expression
from volseg.bundle.audit.finding import Weight

HONEST = (
    "$import glob",
    "$import os",
    "$import ignite",
    "$import numpy as np",
    "$import torch.distributed as dist",
    "$from pathlib import Path",
    "$@bundle_root + '/models'",
    "$list(sorted(glob.glob(@dataset_dir + '/imagesTr/*.nii.gz')))",
    "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "$torch.device(f'cuda:{dist.get_rank()}')",
    "$@network_def.to(@device)",
    "$@network.parameters()",
    "$@train#deterministic_transforms + @train#random_transforms",
    "$[{'image': i, 'label': l} for i, l in zip(@images[:-9], @labels[:-9])]",
    "$monai.handlers.from_engine(['loss'], first=True)",
    "$monai.utils.set_determinism(seed=123)",
    "$setattr(torch.backends.cudnn, 'benchmark', True)",
    "$@checkpointloader(@evaluator)",
    "$dist.is_initialized() or dist.init_process_group(backend='nccl')",
    "$@train#trainer.logger.setLevel(logging.WARNING if dist.get_rank() > 0 else logging.INFO)",
    "$None if dist.get_rank() > 0 else @validate#handlers",
    "$os.path.join(@bundle_root, 'models', 'model.pt')",
    "$monai.data.load_decathlon_datalist(@listing, data_list_key='validation')",
    "$lambda x: torch.where(x > 0, 1, 0)",
    "$json.load(open(@listing))",
    "$monai.__version__",
    "$int(__import__('os').environ.get('RANK', '0'))",
    "$__import__('sys').exit('error: needs x') if __import__('importlib.util').util.find_spec('x') is None else None",
)
HIDING = (
    "$import \u0435vil",
    "$import _posixsubprocess",
    "$import torch.hub",
    "$logging.config.fileConfig(@x)",
    "$setattr(monai.utils, 'run', 1)",
    "$setattr(torch.backends.cudnn, 'a' + 'b', True)",
    "$setattr(torch.backends.cudnn, '__class__', 1)",
    "$setattr(torch.backends.cudnn, 'x', eval)",
    "$import torch as t",
    "$import monai as m",
    "$from torch import hub",
    "$sys.path.insert(0, '/tmp')",
    "$sys.modules['o' + 's']",
    "$(lambda o: o.system('id'))(os)",
    "$operator.attrgetter('system')(os)('id')",
    "$@a.__class__",
    "$open('x', mode='a')",
    "$open('x', 'r' + '+')",
    "$open('x', opener=@f)",
    "$[x for x in [exec]]",
    "$os.environ.__class__",
    "$os.remove('x')",
    "$f'{eval(chr(49))}'",
    "$builtins.eval",
    "$1; import os",
    "$__import__('os').system('id')",
    "$__import__('subprocess')",
    "$__import__('o' + 's')",
    "$__import__('importlib').import_module('x')",
    "$__import__('importlib.util').util.spec_from_file_location('x', 'y')",
    "$__import__('_posixsubprocess').fork_exec",
    "$\u0435val",
    # a reference ends the text that it stands in, and its name begins the next: f'…'
    "$'@f{torch.load(1)}{__import__(chr(111))}'",
    "$@x._sys.modules['subprocess'].run('id', shell=True)",
    "$monai.bundle",
    "$typing.get_type_hints(@x)",
    "$monai.networks.nets.unet.torch.hub.load('a/b', 'c')",
    "$monai.data.ForkingPickler.loads(b'')",
    "$collections._sys.modules",
    "$(x for x in [1]).gi_frame",
    "$1" + "+1" * 1500,
    "$a" + ".b" * 1900,
)
#: what runs, and must not pass for what many bundles do
UNCOMMON = (
    "$import laboratory",
    "$from . import network",
    "$monai.apps.download_and_extract('https://x')",
    "$scripts.net.build()",
    "$torch.load",
    "$sorted(['x'], key=torch.load)",
    "$@x.remove('y')",
    "$@x.modules['subprocess'].run('id')",
    "$@x.bundle.run(config_file='y')",
    "$monai.networks.nets.unet.torch",
    "$monai.networks.utils.convert_to_onnx(@x, @y)",
    "$logging.root",
)


@pytest.mark.parametrize("text", HONEST)
def test_honest_expressions_are_listed(text: str) -> None:
    """The idioms of published bundles run, and are told to run; they are no reason to refuse."""
    assert judge_expression(text).weight is Weight.RUNS


@pytest.mark.parametrize("text", HIDING)
def test_ways_around_are_refused(text: str) -> None:
    """Renaming, assembling and reaching through are what nobody can judge."""
    assert judge_expression(text).weight is Weight.REFUSE


def test_arithmetic_on_references_is_common() -> None:
    """What many bundles hold is told apart from what is worth a look."""
    assert judge_expression("$@epochs * 2").known
    assert judge_expression(HONEST[13]).known
    assert judge_expression(HONEST[-1]).known


@pytest.mark.parametrize("text", UNCOMMON)
def test_what_reaches_further_is_not_common(text: str) -> None:
    """A method of whatever a reference names, a function that is handed on, another library through a known one."""
    judged = judge_expression(text)
    assert judged.weight is Weight.RUNS
    assert not judged.known
