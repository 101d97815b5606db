"""Whether a cohort can be planned for at all: what is wrong with it is one clear line."""

from __future__ import annotations

from volseg.data.codings import MEND, contradiction
from volseg.data.cohort.naming import counted
from volseg.data.fingerprint import Fingerprint
from volseg.errors import CohortError

#: so many of the cases that cannot be read are named beside the first
_NAMED = 5


def require_plannable(found: Fingerprint, where: object) -> None:
    """Raise unless a recipe can be made for these data.

    Raises:
        CohortError: if cases are damaged, unlabelled, too few, or contradict each other.
    """
    if found.failed:
        first, *more = found.failed
        others = ", ".join(case.case for case in more[:_NAMED]) + (" …" if len(more) > _NAMED else "")
        raise CohortError(
            f"{counted(1 + len(more), 'case')} cannot be read: {first.error}{f'; and {others}' if more else ''}",
            where=where,
            mend="mend or remove what volseg check lists, then plan again",
        )
    if not found.labelled:
        raise CohortError("no case has a label map to plan for", where=where, mend="put label maps beside the images")
    if not found.values:
        raise CohortError("every label map is all background", where=where)
    patients = {case.patient for case in found.labelled}
    if len(patients) < 2:
        raise CohortError(
            f"all {len(found.labelled)} labelled cases are of one patient: nobody is left to validate with"
            if len(found.labelled) > 1
            else "there is one labelled case: none is left to validate with",
            where=where,
            mend="add cases of at least one more patient",
        )
    dims = sorted({len(case.shape) for case in found.labelled})
    if len(dims) > 1:
        raise CohortError(
            "some images are 2-D and some 3-D", where=where, mend="put each kind into a folder of its own"
        )
    channels = sorted({len(case.channels) for case in found.labelled})
    if len(channels) > 1:
        raise CohortError(f"cases have {' and '.join(map(str, channels))} channels", where=where)
    if len({case.objects is not None for case in found.labelled}) > 1:
        raise CohortError("some label maps tell objects apart and some do not", where=where)
    _require_one_coding(found, where)


def _require_one_coding(found: Fingerprint, where: object) -> None:
    """One structure written as 1 in some cases and as 255 in others is a slip, not two structures."""
    if found.declared.labels:
        undeclared = sorted(set(found.values) - set(found.declared.labels.values()) - {found.declared.ignore})
        if undeclared and not found.instances:
            holder = next(case for case in found.labelled if undeclared[0] in case.values)
            raise CohortError(
                f"label map of {holder.case} holds the value {undeclared[0]}, but {found.declared.source}:"
                f" {', '.join(f'{name} {value}' for name, value in found.declared.labels.items())}",
                where=where,
                mend="mend the label map or the names; --labels NAME=VALUE,… overrules the names",
            )
        return
    if told := contradiction({case.case: case.values for case in found.labelled}):
        raise CohortError(told, where=where, mend=MEND)
