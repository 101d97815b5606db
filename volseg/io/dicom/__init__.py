"""DICOM series: found, judged and read, with all parsing in a child process."""

from volseg.io.dicom.files import is_dicom
from volseg.io.dicom.series import SeriesInfo, list_series, outline_series, read_series

__all__ = ["SeriesInfo", "is_dicom", "list_series", "outline_series", "read_series"]
