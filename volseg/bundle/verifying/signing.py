"""Signatures over bundles, in the format of OpenSSF's model signing: with a key pair of one's own, offline.

Signed is every file of the bundle, so that a signature is good for the zip and for the folder that it unpacks to, and
can be checked by other programs that know the format.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from volseg.bundle.packing import check_archive
from volseg.bundle.storage.files import StrPath, open_bundle
from volseg.bundle.storage.limits import MIB
from volseg.bundle.storage.manifest import MANIFEST, Manifest, check_files
from volseg.bundle.storage.private_copy import private_copy
from volseg.errors import BundleError, MissingExtra
from volseg.io.atomic import write_bytes

#: where the password of an encrypted key is looked for
PASSWORD = "VOLSEG_KEY_PASSWORD"
_LARGEST = 4 * MIB


def signature_path(bundle: StrPath) -> Path:
    """Where a bundle's signature lies if nobody says otherwise: beside it.

    >>> signature_path("shared/heart.zip").as_posix()
    'shared/heart.zip.sig'
    """
    path = Path(bundle)
    return path.with_name(f"{path.name}.sig")


def sign_bundle(bundle: StrPath, key: StrPath, signature: StrPath | None = None) -> Path:
    """Sign a bundle that is as its manifest says.

    Args:
        bundle: its folder, or its zip.
        key: the private key of an elliptic curve, in PEM; encrypted ones are opened by ``VOLSEG_KEY_PASSWORD``.
        signature: the file to write; beside the bundle if not given.

    Raises:
        BundleError: if the bundle is not as its manifest says, or the key is none.
        MissingExtra: if model-signing is not installed.
        WriteError: if the signature cannot be written.
    """
    model_signing = _library("signing bundles")
    target = signature_path(bundle) if signature is None else Path(signature)
    password = os.environ.get(PASSWORD)
    with open_bundle(bundle) as files:
        manifest = check_archive(bundle) if Path(bundle).is_file() else check_files(files)
        with private_copy(files, manifest) as folder, TemporaryDirectory(prefix="volseg-signature-") as place:
            written = Path(place, "signature")
            config = model_signing.signing.Config().set_hashing_config(_hashing(model_signing))

            def sign() -> None:
                config.use_elliptic_key_signer(private_key=Path(key), password=password and password.encode())
                config.sign(folder, written)

            _tried(sign, f"{key}: cannot sign with this key")
            write_bytes(target, written.read_bytes())
    return target


def check_signature(folder: Path, manifest: Manifest, signature: Path, identity: StrPath) -> None:
    """Hold a bundle's folder against a signature and the public key of whoever must have signed it.

    Raises:
        BundleError: if another key signed it, a file differs, or not every file was signed.
        MissingExtra: if model-signing is not installed.
    """
    model_signing = _library("verifying signatures")
    for path in (signature, Path(identity)):
        if not path.is_file():
            raise BundleError("no such file", where=path)
        if path.stat().st_size > _LARGEST:
            raise BundleError("too large for a signature or a key", where=path)

    def verify() -> None:
        config = model_signing.verifying.Config().set_hashing_config(_hashing(model_signing))
        config.use_elliptic_key_verifier(public_key=Path(identity)).verify(folder, signature)

    _tried(verify, f"{signature}: does not hold for this bundle and the key {identity}")
    if _signed(signature) != {MANIFEST, *manifest.files}:
        raise BundleError("leaves files of the bundle unsigned", where=signature)


def _library(purpose: str) -> Any:
    try:
        import model_signing
    except ImportError:
        raise MissingExtra.of("model-signing", extra="signing", purpose=purpose) from None
    return model_signing


def _hashing(model_signing: Any) -> Any:
    """Every file, whatever its name."""
    config = model_signing.hashing.Config().use_file_serialization()
    return config.set_ignored_paths(paths=[], ignore_git_paths=False)


def _signed(signature: Path) -> set[str]:
    """The files that a signature, which was verified, speaks of: its maker could leave some out."""
    envelope = json.loads(signature.read_bytes())["dsseEnvelope"]
    return {
        resource["name"] for resource in json.loads(base64.b64decode(envelope["payload"]))["predicate"]["resources"]
    }


def _tried(use: Callable[[], None], what: str) -> None:
    try:
        with redirect_stdout(StringIO()):  # the library prints its doubts where results go
            use()
    except Exception as error:  # damaged keys and signatures make the library raise whatever they happen to hit
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BundleError(f"{what} ({first[:200]})") from error
