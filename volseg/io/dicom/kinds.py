"""Which kinds of DICOM object are images to segment, and what the others are called."""

from __future__ import annotations

import re

_STORAGE = "1.2.840.10008.5.1.4.1.1."

#: images whose values mean something on a grid
IMAGES = frozenset(
    _STORAGE + tail
    for tail in (
        "1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1",  # radiography, mammography, intra-oral
        "2", "2.1", "2.2",  # CT: single slices, enhanced, legacy converted
        "4", "4.1", "4.4",  # MR
        "6.1", "6.2",  # ultrasound: single image, enhanced volume
        "12.1", "12.2", "13.1.1", "13.1.2", "13.1.3",  # X-ray angiography, fluoroscopy, 3-D, tomosynthesis
        "20", "128", "128.1", "130",  # nuclear medicine, PET
        "30",  # parametric map
        "77.1.5.1", "77.1.5.4",  # ophthalmic: photography, tomography
        "481.1",  # radiotherapy image
    )
)  # fmt: skip

#: radiographs lie in no patient coordinates: their values mean a shade, so that MONOCHROME1 is a negative
PROJECTIONS = frozenset(
    _STORAGE + tail for tail in ("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "12.1", "12.2", "481.1")
)

_NAMES = {
    "1.2.840.10008.1.3.10": "a DICOMDIR index",
    _STORAGE + "7": "a secondary capture",
    _STORAGE + "7.1": "a secondary capture",
    _STORAGE + "7.2": "a secondary capture",
    _STORAGE + "7.3": "a secondary capture",
    _STORAGE + "7.4": "a secondary capture",
    _STORAGE + "66.4": "a segmentation (SEG)",
    _STORAGE + "66.7": "a segmentation (SEG)",
    _STORAGE + "66.5": "a surface segmentation",
    _STORAGE + "481.2": "a radiotherapy dose (RTDOSE)",
    _STORAGE + "481.3": "a structure set (RTSTRUCT)",
    _STORAGE + "481.5": "a radiotherapy plan (RTPLAN)",
    _STORAGE + "77.1.6": "a whole-slide image",
    _STORAGE + "6": "an ultrasound image of a retired kind",
    _STORAGE + "3.1": "an ultrasound movie",
    _STORAGE + "91.1": "microscopy annotations",
    _STORAGE + "88.59": "a key object selection",
    _STORAGE + "104.1": "an encapsulated PDF",
    _STORAGE + "66": "raw data",
    _STORAGE + "66.1": "a registration",
}

_UID = re.compile(r"[0-9.]{1,64}")


def is_cut(sop_class: str) -> bool:
    """Whether this is no SOP class, but the beginning of that of an image.

    >>> is_cut("1.2.840.10008.5.1.4.1"), is_cut("1.2.840.10008.5.1.4.1.1.4"), is_cut("1.2.840.10008.5.1.4.1.1.7")
    (True, False, False)
    """
    unknown = uid_name(sop_class) in (None, sop_class)
    return unknown and any(image.startswith(sop_class) for image in IMAGES)


def name_of(sop_class: str) -> str:
    """What a person calls an object of this SOP class.

    >>> name_of("1.2.840.10008.5.1.4.1.1.481.3"), name_of("1.2.840.10008.5.1.4.1.1.88.33")
    ('a structure set (RTSTRUCT)', 'a structured report (SR)')
    >>> name_of("1.2.840.10008.1.2"), name_of("1.2.840\\0Mustermann^Erika")
    ('a DICOM object of the kind Implicit VR Little Endian', 'a DICOM object of an unknown kind')
    """
    if sop_class in _NAMES:
        return _NAMES[sop_class]
    if sop_class.startswith(_STORAGE + "88."):
        return "a structured report (SR)"
    if sop_class.startswith(_STORAGE + "11."):
        return "a presentation state"
    known = uid_name(sop_class)
    return "a DICOM object of an unknown kind" if known in (None, sop_class) else f"a DICOM object of the kind {known}"


def uid_name(uid: str) -> str | None:
    """The name that DICOM gives a UID, or the UID itself.

    None for what is no UID: it could be anything, a patient's name among it, and is never repeated.

    >>> uid_name("1.2.840.10008.1.2"), uid_name("1.2.3"), uid_name("1.2.3 Mustermann^Erika")
    ('Implicit VR Little Endian', '1.2.3', None)
    """
    from pydicom.uid import UID

    return UID(uid).name if _UID.fullmatch(uid) else None
