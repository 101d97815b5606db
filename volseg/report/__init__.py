"""Reports: a folder of pages that open offline, with figures, plots and a viewer of every case."""

from volseg.report.cases import Gathered, ReportCase, Sources, gather
from volseg.report.drawing import Drawing
from volseg.report.report import Report, require_place, write_report

__all__ = ["Drawing", "Gathered", "Report", "ReportCase", "Sources", "gather", "require_place", "write_report"]
