"""Which packages a bundle needs, and whether they are here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from volseg import __version__
from volseg.errors import BundleError

#: what every bundle of this version is written for; a constant, so that rendering is the same on every machine
MONAI, TORCH, NUMPY = "1.6.0", "2.10.0", "1.26.0"
REQUIRED: Mapping[str, str] = {
    "volseg": __version__,
    "pytorch-ignite": "0.5.2",
    "nibabel": "5.3.0",
    "pydantic": "2.9.0",
    "safetensors": "0.5.0",
}


def require_packages(metadata: Mapping[str, object]) -> None:
    """Refuse to go on with packages older than a bundle's metadata ask for, volseg first.

    >>> require_packages({"required_packages_version": {"volseg": "0.0.1"}})

    Raises:
        BundleError: naming the package and the way to get it.
    """
    wanted = metadata.get("required_packages_version")
    needed = {str(name): str(least) for name, least in wanted.items()} if isinstance(wanted, Mapping) else {}
    for key, name in (("monai_version", "monai"), ("pytorch_version", "torch"), ("numpy_version", "numpy")):
        if key in metadata:
            needed[name] = str(metadata[key])
    for name in sorted(needed, key=lambda name: name != "volseg"):
        try:
            here = __version__ if name == "volseg" else version(name)
        except PackageNotFoundError:
            here = ""
        if not here or _numbers(here) < _numbers(needed[name]):
            raise BundleError(
                f"this bundle needs {name} {needed[name]} or later, and {here or 'none'} is installed",
                mend=f'pip install "{name}>={needed[name]}"',
            )


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version.

    >>> _numbers("2.13.0+cpu") > _numbers("2.9.1"), _numbers("1.6") < _numbers("1.6.0")
    (True, False)
    """
    found = re.match(r"\d+(?:\.\d+)*", text)
    numbers = [int(n) for n in found[0].split(".")] if found else []
    return (*numbers, 0, 0, 0)[:3]
