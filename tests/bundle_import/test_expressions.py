"""Expressions of strangers' configurations: a few shapes have a meaning, every other has none, and none is run."""

from __future__ import annotations

from typing import Any

import pytest

from volseg.bundle.importing.expressions import Unknown, meaning
from volseg.bundle.importing.meanings import Meaning, Part

PART = Part(("network",), {"_target_": "UNet"})
KNOWN = {"part": PART, "root": "here", "above::below": 3, "files": Meaning.FILES}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$-3", -3),
        ("$not True", False),
        ("$1 + 2.5", 3.5),
        ("$[1, 2] + [3]", [1, 2, 3]),
        ("$(1, None, 'x')", [1, None, "x"]),
        ("${'a': 1, 'b': -2}", {"a": 1, "b": -2}),
        ("$1 if False else 2", 2),
        ("$numpy.float32", "float32"),
        ("$len('abc') + len([1])", 4),
        ("$os.path.join(@root, 'models')", "here/models"),
        ("$@above#below", 3),
        ("$@above::below + 1", 4),
        ("$sorted(glob.glob('*.nii', recursive=True))", Meaning.FILES),
        ("$[{'image': one} for one in @files]", Meaning.DATA),
        ("$monai.data.load_decathlon_datalist('a', True, data_list_key='test')", Meaning.DATA),
        ("$setattr(torch.backends.cudnn, 'benchmark', True)", Meaning.STEP),
        ("$monai.utils.set_determinism(seed=3)", Meaning.STEP),
        ("$import json", Meaning.STEP),
        ("$from os import path", Meaning.STEP),
        ("$torch.device('cuda' if torch.cuda.is_available() else 'cpu')", Meaning.DEVICE),
        ("$@part.to(torch.device('cpu'))", PART),
        ("$@part.eval()", PART),
        ("$@part.run()", Meaning.STEP),
        ("$@part(@part)", Meaning.STEP),
    ],
)
def test_what_has_a_meaning(text: str, expected: Any) -> None:
    """What it stands for, without asking Python."""
    assert meaning(text, KNOWN.__getitem__) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("$" + "1+" * 600 + "1", "an expression of 1202 letters"),
        ("$(", "no Python that can be read"),
        ("$1; 2", "no single expression"),
        ("$x = 1", "no single expression"),
        ("$import socket", "an import of socket"),
        ("$from . import os", "an import of ."),
        ("$b'x'", "b'x'"),
        ("$x", "x"),
        ("$...", "..."),
        ("$-'a'", "-'a'"),
        ("$-True", "-True"),
        ("$not 1", "not 1"),
        ("$'a' + 1", "'a' + 1"),
        ("$'a' * 3", "'a' * 3"),
        ("$True + 1", "True + 1"),
        ("${**@root}", "{**reference_of_monai_0}"),
        ("$1 if 'x' else 2", "a choice by something else than true or false"),
        ("$[i for i in @files]", "[i for i in reference_of_monai_0]"),
        ("$[{'a': i} for i in 'x']", "[{'a': i} for i in 'x']"),
        ("$[{'a': i} for i in @files if i]", "[{'a': i} for i in reference_of_monai_0 if i]"),
        ("$len(*'a')", "a call of len"),
        ("$len(**{})", "a call of len"),
        ("$len(3)", "the length of something that has none here"),
        ("$len()", "a call of len with other arguments"),
        ("$list('a')", "a list of something else than files"),
        ("$glob.glob(3)", "files of a pattern that is no text"),
        ("$glob.glob('a', 'b', 'c')", "a call of glob.glob with other arguments"),
        ("$os.path.join('a', 3)", "a path of something else than texts"),
        ("$os.path.join()", "a path of something else than texts"),
        ("$monai.data.load_decathlon_datalist(3)", "a list of cases from something else than texts"),
        ("$torch.device(x)", "x"),
        ("$torch.device('cpu', index=1)", "a call of torch.device with other arguments"),
        ("$torch.device('a' if x else 'b')", "'a' if x else 'b'"),
        ("$torch.device(x if torch.cuda.is_available() else 'b')", "x if torch.cuda.is_available() else 'b'"),
        ("$setattr(os, 'benchmark', True)", "setattr(os, 'benchmark', True)"),
        ("$setattr(torch.backends.cudnn, 'enabled', True)", "setattr(torch.backends.cudnn, 'enabled', True)"),
        ("$setattr(torch.backends.cudnn, 'benchmark', x)", "setattr(torch.backends.cudnn, 'benchmark', x)"),
        ("$@part.to('cpu')", "a call of @part.to with these arguments"),
        ("$@part.run(1)", "a call of @part.run with these arguments"),
        ("$@root.run()", "a call of @root.run with these arguments"),
        ("$@part(3)", "a call of @part with these arguments"),
        ("$@part(@part, x=1)", "a call of @part with these arguments"),
        ("$@part.train()", "a call of reference_of_monai_0.train"),
        ("$torch.load('x')", "a call of torch.load"),
    ],
)
def test_what_has_none(text: str, told: str) -> None:
    """The error says which part of it."""
    with pytest.raises(Unknown) as caught:
        meaning(text, KNOWN.__getitem__)
    assert str(caught.value) == told


def test_sums_cannot_grow_without_end() -> None:
    """Sums of references double with each; a text or list of some thousands is the end."""
    with pytest.raises(Unknown, match="a sum of more than 4096"):
        meaning("$@long + @long", {"long": "x" * 3000}.__getitem__)
    with pytest.raises(Unknown, match="a sum of more than 4096"):
        meaning("$@long + @long", {"long": [0] * 3000}.__getitem__)
    assert len(meaning("$@long + @long", {"long": "x" * 2048}.__getitem__)) == 4096
