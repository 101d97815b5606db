"""What the values of a mask mean: names, values, colours, the value to ignore, regions made of several labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from volseg.errors import LabelError, nearest

# Okabe and Ito's palette: told apart without full colour vision, on light and on dark.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#F0E442", "#0072B2", "#999999")


@dataclass(frozen=True)
class Label:
    """One structure: its name, the value its voxels hold, the colour it is drawn in."""

    name: str
    value: int
    colour: str
    #: (scheme, code, meaning), as DICOM writes a structure: ("SCT", "87878005", "Left ventricle").
    code: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Labels:
    """The structures of a task. Value 0 is the background and is always there.

    >>> labels = Labels.of({"right ventricle": 1, "myocardium": 2, "left ventricle": 3})
    >>> labels.names, labels.dtype
    (('right ventricle', 'myocardium', 'left ventricle'), dtype('uint8'))
    >>> labels["myocardium"].value
    2
    """

    structures: tuple[Label, ...]
    #: voxels of this value carry no truth: they are left out of the loss and of every measure
    ignore: int | None = None
    #: a region is a union of structures, such as "whole heart": its name and the names in it
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names, values = [s.name for s in self.structures], [s.value for s in self.structures]
        taken = [0, *values] + ([] if self.ignore is None else [self.ignore])
        for what, seen in (("name", [*names, *self.regions]), ("value", taken)):
            twice = sorted({str(x) for x in seen if list(seen).count(x) > 1})
            if twice:
                raise LabelError(f"label {what} {', '.join(twice)} stands twice", mend="background is always 0")
        if any(v < 0 for v in taken):
            raise LabelError("label values must not be negative")
        for region, parts in self.regions.items():
            for part in parts:
                if part not in names:
                    raise LabelError(f"region {region!r} names {part!r}, which is no label", mend=self._hint(part))

    @classmethod
    def of(
        cls,
        values: Mapping[str, int],
        *,
        colours: Mapping[str, str] | None = None,
        codes: Mapping[str, tuple[str, str, str]] | None = None,
        ignore: int | None = None,
        regions: Mapping[str, Sequence[str]] | None = None,
    ) -> Labels:
        """Labels by name and value; an entry called ``background`` with value 0 may be named and is implied."""
        colours, codes = dict(colours or {}), dict(codes or {})
        chosen = [(name, value) for name, value in values.items() if not (name == "background" and value == 0)]
        structures = tuple(
            Label(name, int(value), colours.get(name, PALETTE[i % len(PALETTE)]), codes.get(name))
            for i, (name, value) in enumerate(chosen)
        )
        return cls(structures, ignore, {name: tuple(parts) for name, parts in (regions or {}).items()})

    def __len__(self) -> int:
        return len(self.structures)

    def __getitem__(self, name: str) -> Label:
        for structure in self.structures:
            if structure.name == name:
                return structure
        raise LabelError(f"{name!r} is no label", mend=self._hint(name))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.structures)

    @property
    def values(self) -> tuple[int, ...]:
        return tuple(s.value for s in self.structures)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned type that holds every value."""
        return smallest_unsigned(max((0, *self.values, self.ignore or 0)))

    def check(self, present: Iterable[int], *, where: object = None) -> None:
        """Raise if a mask holds a value that is neither background, nor a label, nor the ignore value."""
        allowed = {0, *self.values} | (set() if self.ignore is None else {self.ignore})
        foreign = sorted({int(v) for v in present} - allowed)
        if foreign:
            shown = ", ".join(map(str, foreign[:8])) + (" …" if len(foreign) > 8 else "")
            raise LabelError(
                f"holds the label value{'s' if len(foreign) > 1 else ''} {shown}, declared are "
                + ", ".join(map(str, sorted(allowed))),
                where=where,
            )

    def mask(self, array: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.bool_]:
        """Where a structure or a region is."""
        parts = self.regions.get(name, (name,))
        return np.isin(array, [self[part].value for part in parts])

    def united(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.unsignedinteger]:
        """Objects told apart by their values as the one structure that they are of; the ignore value stays.

        >>> Labels.of({"cell": 1}, ignore=255).united(np.array([0, 1, 2, 255]))
        array([  0,   1,   1, 255], dtype=uint8)
        """
        (structure,) = self.structures
        found = np.where(array != 0, structure.value, 0).astype(self.dtype)
        if self.ignore is not None:
            found[array == self.ignore] = self.ignore
        return found

    def to_dict(self) -> dict[str, object]:
        return {
            "values": {s.name: s.value for s in self.structures},
            "colours": {s.name: s.colour for s in self.structures},
            "codes": {s.name: list(s.code) for s in self.structures if s.code},
            "ignore": self.ignore,
            "regions": {name: list(parts) for name, parts in self.regions.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, object]) -> Labels:
        codes = {name: tuple(code) for name, code in stored.get("codes", {}).items()}  # type: ignore[attr-defined]
        return cls.of(**{**stored, "codes": codes})  # type: ignore[arg-type]

    def _hint(self, name: str) -> str:
        near = nearest(name, list(self.names))
        return f"did you mean {near!r}?" if near else f"known are {', '.join(self.names)}"


def smallest_unsigned(largest: int) -> np.dtype[np.unsignedinteger]:
    """The narrowest unsigned integer type that holds ``largest``.

    >>> smallest_unsigned(255), smallest_unsigned(256)
    (dtype('uint8'), dtype('uint16'))
    """
    for kind in (np.uint8, np.uint16, np.uint32, np.uint64):
        if largest <= np.iinfo(kind).max:
            return np.dtype(kind)
    raise LabelError(f"no unsigned type holds the label value {largest}")
