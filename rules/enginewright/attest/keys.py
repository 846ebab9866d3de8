"""Keys to sign and to verify with: ECDSA on the curve P-256, as Cosign has them.

A private key is named by a URI, never given itself: ``file:PATH`` (or a path), a PEM file, PKCS#8 or SEC 1, with a password as a rule;
``env:NAME``, a variable that holds the PEM text; or ``pkcs11:...``, one in a token (`enginewright.attest.token`). The password, or the PIN,
is in the variable ENGINEWRIGHT_KEY_PASSWORD, or asked for on a terminal. Nothing of either is printed, logged or stored.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from enginewright.attest import token
from enginewright.errors import WorkspaceError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

PASSWORD = "ENGINEWRIGHT_KEY_PASSWORD"

_ELSEWHERE = ("awskms:", "gcpkms:", "azurekms:", "hashivault:", "k8s:")


class Signer(Protocol):
    """A private key, wherever it is."""

    def sign(self, data: bytes) -> bytes:
        """An ECDSA signature of data with SHA-256, in DER."""

    def public_key(self) -> EllipticCurvePublicKey:
        """The public half."""


class _LoadedKey:
    """A private key in memory."""

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        self._key = key

    def sign(self, data: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256

        return self._key.sign(data, ec.ECDSA(SHA256()))

    def public_key(self) -> EllipticCurvePublicKey:
        return self._key.public_key()


def check_uri(uri: str) -> str:
    """What is wrong with the URI of a private key; empty when nothing is."""
    scheme = uri.partition(":")[0] + ":"
    if scheme in _ELSEWHERE:
        return f"{scheme} keys in key services are not supported: name a file, as 'file:release.pem', a variable, as 'env:KEY', or a token"
    if scheme == token.SCHEME:
        try:
            token.parse(uri)
        except ValueError as error:
            return str(error)
    if "-----" in uri or "\n" in uri:  # and it is not repeated
        return "is a key itself: write where it is, as 'file:release.pem' or 'env:KEY'"
    if not uri.isprintable():
        return f"{uri!r} cannot be the name of a key: write 'file:release.pem' or 'env:KEY'"
    if scheme == "env:" and not uri.removeprefix("env:").isidentifier():
        return f"{uri!r} names no variable: write it as 'env:SIGNING_KEY'"
    return "" if uri.removeprefix("file:") else "is empty: write 'file:release.pem' or 'env:KEY'"


def load_private(uri: str, environment: Mapping[str, str] = os.environ) -> Signer:
    """The private key that a URI names. Raises WorkspaceError, which says nothing of what is in it."""
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if problem := check_uri(uri):
        raise WorkspaceError(f"key: {problem}")
    if uri.startswith(token.SCHEME):
        return token.TokenKey(uri, environment.get(token.MODULE, ""), _password(uri, environment).decode(errors="replace"))
    if uri.startswith("env:"):
        name = uri.removeprefix("env:")
        if not environment.get(name):
            raise WorkspaceError(f"key: the variable {name} is not set: it should hold a private key, as PEM text")
        data = os.fsencode(environment[name])
    else:
        path = Path(uri.removeprefix("file:"))
        data = _read(path)
    if b"PRIVATE KEY" not in data:
        what = "a public key, and signatures are made with the private one" if b"PUBLIC KEY" in data else "no private key in PEM format"
        raise WorkspaceError(f"key: {uri} holds {what}")
    encrypted = b"ENCRYPTED" in data
    if not uri.startswith("env:") and not encrypted and path.stat().st_mode & 0o077:
        raise WorkspaceError(f"key: {path} has no password, and others may read it: chmod 600 {path}")
    if b"SIGSTORE" in data or b"COSIGN" in data:
        raise WorkspaceError(
            f"key: {uri} is in a format of Cosign's own: make one with `openssl genpkey -aes256 ...`, see docs/signatures.md"
        )
    try:
        key = serialization.load_pem_private_key(data, _password(uri, environment) if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        problem = "has another password, or is damaged" if encrypted else "holds a private key that is damaged"
        raise WorkspaceError(f"key: {uri} {problem}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise WorkspaceError(f"key: {uri} is no key on the curve P-256, which Cosign's signatures are made with")
    return _LoadedKey(key)


def load_public(path: str) -> EllipticCurvePublicKey:
    """The public key in a PEM file. Raises WorkspaceError."""
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    data = _read(Path(path.removeprefix("file:")))
    if b"PRIVATE KEY" in data:
        raise WorkspaceError(f"key: {path} is a private key, and signatures are checked with the public one: openssl pkey -pubout")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise WorkspaceError(f"key: {path} holds no public key in PEM format") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise WorkspaceError(f"key: {path} is no key on the curve P-256")
    return key


def _password(uri: str, environment: Mapping[str, str]) -> bytes:
    if PASSWORD in environment:
        return os.fsencode(environment[PASSWORD])
    if not sys.stdin.isatty():
        raise WorkspaceError(f"key: {uri} has a password: set {PASSWORD}")
    try:
        return getpass.getpass(f"password of {uri}: ").encode()
    except EOFError:
        raise WorkspaceError(f"key: no password of {uri} was given") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WorkspaceError(f"key: {path}: {error.strerror}") from None


def _require_library() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise WorkspaceError("signatures need the distribution cryptography: pip install 'enginewright[sign]'") from None
