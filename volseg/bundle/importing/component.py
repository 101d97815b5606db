"""A component of a configuration: which class it names, and its arguments, each of which must be understood."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from volseg.bundle.importing.meanings import Meaning, Part
from volseg.bundle.importing.resolving import Resolver
from volseg.errors import BundleError

_FAMILIES = {
    "network": "monai.networks.nets",
    "transform": "monai.transforms",
    "inferer": "monai.inferers",
    "evaluator": "monai.engines",
    "handler": "monai.handlers",
    "data": "monai.data",
}
_OTHER_NAMES = {"Unet": "UNet", "BasicUnet": "BasicUNet", "Basicunet": "BasicUNet", "basicunet": "BasicUNet",
    "DynUnet": "DynUNet", "Dynunet": "DynUNet"}  # fmt: skip
_MISSING = object()


class Component:
    """The arguments of a class, taken one by one; whatever is left in the end is not understood.

    Args:
        part: the component.
        family: which of MONAI's packages the class must be of.
        resolver: gives values.
    """

    def __init__(self, part: Any, family: str, resolver: Resolver, where: tuple[str | int, ...] = ()) -> None:
        self.resolver, self.config = resolver, resolver.config
        if not isinstance(part, Part):
            raise self.config.refusal(where, f"is no {family} that is written out")
        self.path, self.value = part.path, part.value
        self.name = self._class(family)
        self._left = [key for key in part.value if key not in ("_target_", "_desc_", "_disabled_", "_mode_")]
        self.disabled = self._disabled()

    def take(self, name: str, default: Any = _MISSING) -> Any:
        """An argument as a plain value; components in it stay.

        Raises:
            BundleError: if it is missing and has no default.
        """
        if name not in self._left:
            if default is _MISSING:
                raise self.refusal(None, f"{self.name} has no {name}")
            return default
        self._left.remove(name)
        return self.resolver.plain((*self.path, name))

    def number(self, name: str, default: Any = _MISSING) -> float:
        """An argument that is a number."""
        found = self.take(name, default)
        if isinstance(found, int | float) and not isinstance(found, bool):
            return found
        raise self.refusal(name, "is no number")

    def flag(self, name: str, default: bool) -> bool:
        """An argument that is true or false; Python takes any text for true."""
        found = self.take(name, default)
        if isinstance(found, bool):
            return found
        if isinstance(found, str) and found.lower() == "true":
            return True
        raise self.refusal(name, "is neither true nor false")

    def ignore(self, *names: str) -> None:
        """Arguments that change nothing in the masks; they must still be ones that are understood."""
        for name in names:
            self.take(name, None)

    def only(self, name: str, allowed: Collection[Any], default: Any) -> Any:
        """An argument of a few values."""
        found = self.take(name, default)
        if not isinstance(found, list | dict | Part) and found in allowed:
            return found
        raise self.refusal(name, f"is {_told(found)}, and of {self.name} only {', '.join(map(str, allowed))} is known")

    def keys(self, wanted: str | None = None) -> str:
        """The one image that a transform works on."""
        found = self.take("keys")
        found = found[0] if isinstance(found, list) and len(found) == 1 else found
        if not isinstance(found, str) or (wanted is not None and found != wanted):
            raise self.refusal("keys", f"is {_told(found)}, and not " + (f"{wanted!r}" if wanted else "one image"))
        return found

    def done(self) -> None:
        """Raise if an argument is left."""
        if self._left:
            raise self.refusal(self._left[0], f"is an argument of {self.name} that is not understood")

    def refusal(self, name: str | None, why: str) -> BundleError:
        """The error for an argument, or for all of it."""
        return self.config.refusal(self.path if name is None else (*self.path, name), why)

    def _class(self, family: str) -> str:
        target = self.value["_target_"]
        if not isinstance(target, str) or target[:1] in "$@%":
            raise self.refusal("_target_", "is computed, and no class that is written out")
        package, _, name = str(target).rpartition(".")
        root = _FAMILIES[family]
        if package and package != root and not package.startswith(f"{root}."):
            raise self.refusal("_target_", f"{target} is no {family} of MONAI's, but code of another package")
        if family == "transform":  # LoadImaged, LoadImageD and LoadImageDict are one
            for ending in ("Dict", "D"):
                if name.endswith(ending) and len(name) > len(ending):
                    return name.removesuffix(ending) + "d"
        return _OTHER_NAMES.get(name, name)

    def _disabled(self) -> bool:
        if self.value.get("_mode_", "default") != "default":
            raise self.refusal("_mode_", "is not the ordinary way to make a component")
        if isinstance(self.value.get("_desc_"), str) and str(self.value["_desc_"])[:1] in "$@%":
            raise self.refusal("_desc_", "is evaluated by MONAI")
        if "_disabled_" not in self.value:
            return False
        found = self.resolver.plain((*self.path, "_disabled_"))
        if isinstance(found, bool):
            return found
        raise self.refusal("_disabled_", "is neither true nor false")


def _told(value: Any) -> str:
    return value.value if isinstance(value, Meaning) else "a component" if isinstance(value, Part) else repr(value)[:80]
