"""Names and colours of the labels, as 3D Slicer and ITK-SNAP read them beside a mask."""

from __future__ import annotations

from pathlib import Path

from volseg.io.atomic import write_text
from volseg.labels import Labels


def slicer(labels: Labels) -> str:
    """A colour table for 3D Slicer.

    >>> print(slicer(Labels.of({"left ventricle": 3}, colours={"left ventricle": "#E69F00"})))
    0 background 0 0 0 0
    3 left_ventricle 230 159 0 255
    <BLANKLINE>
    """
    lines = [f"{s.value} {s.name.replace(' ', '_')} {_rgb(s.colour)} 255" for s in labels.structures]
    return "\n".join(["0 background 0 0 0 0", *lines]) + "\n"


def itk_snap(labels: Labels) -> str:
    """A label description for ITK-SNAP.

    >>> print(itk_snap(Labels.of({"ring": 2}, colours={"ring": "#0072B2"})))
    0 0 0 0 0 0 0 "Clear Label"
    2 0 114 178 1 1 1 "ring"
    <BLANKLINE>
    """
    lines = [f'{s.value} {_rgb(s.colour)} 1 1 1 "{s.name}"' for s in labels.structures]
    return "\n".join(['0 0 0 0 0 0 0 "Clear Label"', *lines]) + "\n"


def write_label_tables(folder: Path, labels: Labels) -> None:
    """Both, beside the masks."""
    write_text(folder / "labels.ctbl", slicer(labels))
    write_text(folder / "labels.itksnap.txt", itk_snap(labels))


def _rgb(colour: str) -> str:
    return " ".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
