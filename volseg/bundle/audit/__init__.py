"""What running a bundle would execute, read off its files without running any of it."""

from volseg.bundle.audit.audit import Audit, audit
from volseg.bundle.audit.finding import Finding, Verdict, Weight

__all__ = ["Audit", "Finding", "Verdict", "Weight", "audit"]
