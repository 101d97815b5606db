"""Built packages tell the commit that they were made from; the checkout itself is left as it is."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface):
    """Put ``volseg/build.txt`` into a wheel or a source archive that is built in a checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the commit down, where there is one: an archive that has its file already keeps it."""
        told = runpy.run_path(str(Path(self.root, "volseg", "cli", "build.py")))
        commit = told["commit"](Path(self.root))
        if commit is None or version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name, told["FILE"])
        file.write_text(commit + "\n")
        build_data["force_include"][str(file)] = f"volseg/{told['FILE']}"
