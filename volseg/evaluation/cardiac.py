"""What cardiologists read from segmented hearts, over a cohort, and how well it agrees with the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from volseg import __version__
from volseg.data.apart import each_apart
from volseg.errors import VolsegError, VolumeError, below
from volseg.evaluation.hearts import Beat, Heart, Hearts, Roles, find_hearts
from volseg.evaluation.masks import Mask, StrPath
from volseg.evaluation.reading import read_mask
from volseg.evaluation.scoring import NO_MEMORY
from volseg.evaluation.strict_json import plain
from volseg.evaluation.tables import csv_text
from volseg.io import PLAUSIBLE_SPACING
from volseg.metrics import (
    Agreement,
    CardiacFunction,
    PhaseVolumes,
    cardiac_function,
    find_phases,
    measure_agreement,
    phase_volumes,
)


@dataclass(frozen=True)
class Quantity:
    """One of a heart's figures: its key in tables, what people call it, its unit."""

    key: str
    title: str
    unit: str


QUANTITIES = (
    Quantity("lv_edv_ml", "LV EDV", "ml"),
    Quantity("lv_esv_ml", "LV ESV", "ml"),
    Quantity("lv_sv_ml", "LV SV", "ml"),
    Quantity("lv_ef_percent", "LV EF", "%"),
    Quantity("rv_edv_ml", "RV EDV", "ml"),
    Quantity("rv_esv_ml", "RV ESV", "ml"),
    Quantity("rv_sv_ml", "RV SV", "ml"),
    Quantity("rv_ef_percent", "RV EF", "%"),
    Quantity("myocardial_mass_g", "myocardial mass", "g"),
)


@dataclass(frozen=True)
class MeasuredBeat:
    """A heart's function, and the two masks that it was read from."""

    function: CardiacFunction
    diastole: str
    systole: str
    #: ``told`` by Info.cfg or by the masks' names, or found by the left ventricle's ``volume``
    phases: Literal["told", "volume"]


@dataclass(frozen=True)
class HeartResult:
    """One patient's figures, or the one line of what is wrong."""

    patient: str
    group: str | None = None
    predicted: MeasuredBeat | None = None
    true: MeasuredBeat | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def good(self) -> bool:
        return self.error is None


@dataclass(frozen=True)
class CardiacStudy:
    """Every patient, and the agreement with the truth where there is one."""

    roles: Roles
    #: in the natural order of their names
    hearts: tuple[HeartResult, ...]
    #: by the quantity's key; predicted less true. Empty without truths
    agreement: Mapping[str, Agreement]
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[HeartResult, ...]:
        return tuple(heart for heart in self.hearts if not heart.good)

    def pairs(self, key: str) -> tuple[list[float], list[float]]:
        """A quantity as predicted and as it truly is, of the patients that have both."""
        return _pairs(self.hearts, key)

    @property
    def compared(self) -> tuple[HeartResult, ...]:
        """The patients that have both, in the order of :meth:`pairs`."""
        return _compared(self.hearts)


def measure_hearts(
    predictions: StrPath,
    truths: StrPath | None = None,
    *,
    roles: Roles | None = None,
    info: StrPath | None = None,
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING,
    processes: int = 0,
) -> CardiacStudy:
    """Volumes, ejection fractions and myocardial mass of every patient.

    Args:
        predictions: masks of both ends of the beat, or of all frames of a cine (a file each, or 4-D).
        truths: true masks, to be compared with.
        roles: which labels are the cavities and the muscle; as in ACDC without.
        info: where patients' ``Info.cfg`` lie, if not beside the masks or the truths.
        spacing_range: voxel sizes in millimetres outside this range are refused.
        processes: how many masks are read at the same time, each in a process of its own; 0 reads in this one.
    """
    found = find_hearts(predictions, truths, info)
    return measure_found(found, roles=roles, spacing_range=spacing_range, processes=processes)


def measure_found(
    found: Hearts,
    *,
    roles: Roles | None = None,
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING,
    processes: int = 0,
    step: Callable[[str], None] | None = None,
) -> CardiacStudy:
    """:func:`measure_hearts` for patients that were found already; ``step`` is called with what each mask is."""
    roles = roles or Roles()
    wanted = [(side, mask) for heart in found.hearts for side, mask in heart.masks]
    measured: dict[tuple[str, Mask], PhaseVolumes | VolsegError] = {}
    measuring = _Measuring(roles, spacing_range)
    results = each_apart(measuring, [mask for _, mask in wanted], processes=processes, lost=_lost)
    for (side, mask), volumes in zip(wanted, results, strict=True):
        measured[side, mask] = volumes
        if step is not None:
            step(f"{side} {mask.name}")
    hearts = tuple(_result(heart, measured, found) for heart in found.hearts)
    compared = _compared(hearts)
    agreement = {q.key: measure_agreement(*_pairs(hearts, q.key)) for q in QUANTITIES} if compared else {}
    return CardiacStudy(roles, hearts, agreement, found.notes)


def cardiac_csv(study: CardiacStudy) -> str:
    """One row for each patient; true figures have ``true_`` before their names."""
    keys = [quantity.key for quantity in QUANTITIES]
    sides = ["", "true_"] if study.agreement else [""]
    columns = [
        "patient",
        "group",
        "ed",
        "es",
        "phases",
        *(side + key for side in sides for key in keys),
        "notes",
        "error",
    ]
    return csv_text(columns, [{k: v for k, v in _row(heart).items() if k in columns} for heart in study.hearts])


def cardiac_json(study: CardiacStudy) -> dict[str, Any]:
    """The whole study as JSON has it: a figure that does not apply is null."""
    labels = study.roles.labels
    told = {
        "volseg": __version__,
        "labels": {
            role: labels[name].value
            for role, name in (
                ("left_ventricle", study.roles.left),
                ("right_ventricle", study.roles.right),
                ("myocardium", study.roles.myocardium),
            )
        },
        "hearts": [
            {
                "patient": heart.patient,
                "group": heart.group,
                "predicted": _told(heart.predicted),
                "true": _told(heart.true),
                "notes": list(heart.notes),
                "error": heart.error,
            }
            for heart in study.hearts
        ],
        "agreement": {
            key: {**asdict(found), "lower_limit": found.lower, "upper_limit": found.upper}
            for key, found in study.agreement.items()
        },
        "failed": len(study.failed),
        "notes": list(study.notes),
    }
    return dict(plain(told))


@dataclass(frozen=True)
class _Measuring:
    """Reading one mask and counting its structures; whatever is wrong with the file is the result."""

    roles: Roles
    spacing_range: tuple[float, float]

    def __call__(self, mask: Mask) -> PhaseVolumes | VolsegError:
        try:
            volume = read_mask(mask, self.roles.labels, spacing_range=self.spacing_range)
            if volume.grid.ndim != 3:
                raise VolumeError("a 2-D mask has no volume", where=mask.path, mend="segment the whole stack")
            roles = self.roles
            return phase_volumes(
                volume.array,
                volume.grid.voxel_volume,
                roles.labels,
                left=roles.left,
                right=roles.right,
                myocardium=roles.myocardium,
            )
        except VolsegError as error:
            return error
        except MemoryError:
            return VolumeError(NO_MEMORY, where=mask.path)


def _result(
    heart: Heart, measured: Mapping[tuple[str, Mask], PhaseVolumes | VolsegError], found: Hearts
) -> HeartResult:
    if heart.error is not None:
        return HeartResult(heart.patient, heart.group, error=heart.error)
    notes: list[str] = []
    beats: dict[str, MeasuredBeat | None] = {"prediction": None, "truth": None}
    for side, beat in (("prediction", heart.predicted), ("truth", heart.true)):
        if beat is None:
            continue
        volumes = []
        for mask in beat.told or beat.masks:
            known = measured[side, mask]
            if isinstance(known, VolsegError):
                where = f"{side} {below(mask.path, found.roots[side])}"
                line = type(known)(known.what, where=where, mend=known.mend)
                return HeartResult(heart.patient, heart.group, error=f"{heart.patient}: {line}")
            volumes.append(known)
        try:
            beats[side] = _measured(beat, volumes)
        except VolsegError as error:
            return HeartResult(heart.patient, heart.group, error=f"{heart.patient}: {side}: {error}")
        notes += [f"{side}: {note}" for note in _doubts(beats[side], len(volumes))]
    return HeartResult(heart.patient, heart.group, beats["prediction"], beats["truth"], tuple(notes))


def _measured(beat: Beat, volumes: Sequence[PhaseVolumes]) -> MeasuredBeat:
    if beat.told is not None:
        diastole, systole = beat.told
        return MeasuredBeat(cardiac_function(*volumes), diastole.name, systole.name, "told")
    ed, es = find_phases(volumes)
    function = cardiac_function(volumes[ed], volumes[es])
    return MeasuredBeat(function, beat.masks[ed].name, beat.masks[es].name, "volume")


def _doubts(beat: MeasuredBeat | None, frames: int) -> list[str]:
    """What a careful reader would ask about."""
    if beat is None:
        return []
    doubts = []
    if beat.phases == "volume":
        doubts.append(f"ED and ES found by the left ventricle's volume among {frames} frames")
    for name, ventricle in (("left", beat.function.left), ("right", beat.function.right)):
        if ventricle.edv_ml == 0:
            doubts.append(f"there is no {name} ventricle at ED")
        elif ventricle.esv_ml == 0:
            doubts.append(f"there is no {name} ventricle at ES")
        elif ventricle.sv_ml <= 0:
            doubts.append(f"the {name} ventricle is not smaller at ES than at ED")
    if beat.function.mass_g == 0:
        doubts.append("there is no myocardium at ED")
    return doubts


def _compared(hearts: Sequence[HeartResult]) -> tuple[HeartResult, ...]:
    return tuple(heart for heart in hearts if heart.predicted is not None and heart.true is not None)


def _pairs(hearts: Sequence[HeartResult], key: str) -> tuple[list[float], list[float]]:
    both = [(heart.predicted, heart.true) for heart in hearts if heart.predicted is not None and heart.true is not None]
    return [made.function.to_dict()[key] for made, _ in both], [true.function.to_dict()[key] for _, true in both]


def _row(heart: HeartResult) -> dict[str, object]:
    row: dict[str, object] = {"patient": heart.patient, "group": heart.group or "", "notes": "; ".join(heart.notes)}
    if heart.predicted is not None:
        row |= {"ed": heart.predicted.diastole, "es": heart.predicted.systole, "phases": heart.predicted.phases}
        row |= heart.predicted.function.to_dict()
    if heart.true is not None:
        row |= {f"true_{key}": value for key, value in heart.true.function.to_dict().items()}
    return {**row, "error": heart.error or ""}


def _told(beat: MeasuredBeat | None) -> dict[str, object] | None:
    if beat is None:
        return None
    return {"ed": beat.diastole, "es": beat.systole, "phases": beat.phases, **beat.function.to_dict()}


def _lost(mask: Mask) -> VolsegError:
    return VolumeError("reading it ended the process; leave it out", where=mask.path)
