"""A bundle copied to where nobody else writes, so that what was checked is what is used."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from volseg.bundle.storage.files import BundleFiles
from volseg.bundle.storage.limits import GIB, MIB
from volseg.bundle.storage.manifest import MANIFEST, Manifest
from volseg.errors import BundleError
from volseg.io.atomic import refusal

_LARGEST = 4 * GIB


@contextmanager
def private_copy(files: BundleFiles, manifest: Manifest) -> Iterator[Path]:
    """A folder, readable for this user alone, with the files that a manifest lists; gone when the block ends.

    Raises:
        BundleError: if they are more than a bundle of volseg's can hold.
        WriteError: if there is no room for them.
    """
    total = sum(record.size for record in manifest.files.values())
    if total > _LARGEST:
        raise BundleError(
            f"holds {total >> 20} MiB; a bundle of volseg's has at most {_LARGEST >> 20}", where=files.where
        )
    with TemporaryDirectory(prefix="volseg-bundle-") as above:
        folder = Path(above, manifest.name)
        try:
            for path in (MANIFEST, *manifest.files):
                place = folder.joinpath(*path.split("/"))
                place.parent.mkdir(parents=True, exist_ok=True)
                with files.open(path) as source, place.open("xb") as file:
                    shutil.copyfileobj(source, file, MIB)
        except OSError as error:
            if isinstance(error, BundleError):
                raise
            raise refusal(error, folder) from error
        yield folder
