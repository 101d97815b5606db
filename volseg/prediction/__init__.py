"""A folder of scans in, a mask for each out: planned beforehand, overlapped, resumable, told in a summary."""

from volseg.prediction.foresight import Expected, Foresight
from volseg.prediction.plan import Job, Plan, Request, plan
from volseg.prediction.run import Outcome, run

__all__ = ["Expected", "Foresight", "Job", "Outcome", "Plan", "Request", "plan", "run"]
