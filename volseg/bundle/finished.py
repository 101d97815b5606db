"""What every training leaves: a bundle of its own in the run's folder, whichever door it was started through."""

from __future__ import annotations

from pathlib import Path

from volseg.bundle.rendering.build import build_bundle
from volseg.engine.run_folder import RunFolder
from volseg.errors import BundleError
from volseg.recipe import load_recipe


def leave_bundle(run: Path) -> Path:
    """Build ``RUN/bundle`` from the recipe and the best weights of a run.

    Raises:
        BundleError: if the run has no weights.
    """
    folder = RunFolder(run)
    kept = [folder.models / f"{name}.safetensors" for name in ("best", "last")]
    weights = next((path for path in kept if path.is_file()), None)
    if weights is None:
        raise BundleError("the run has no weights", where=run, mend="train first")
    return build_bundle(load_recipe(folder.recipe), run / "bundle", weights=weights)
