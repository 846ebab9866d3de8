"""Where a remote server is: a URL, and what is shown to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from enginewright.errors import WorkspaceError

SCHEMES = ("grpc", "grpcs", "http", "https", "s3", "gs", "az", "file")

_PORTS = {"grpc": 8980, "grpcs": 443, "http": 80, "https": 443}
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Address:
    """A server: for ``grpc`` and ``http`` a host and a port; ``path`` is the instance's name, the path of the URL, or the prefix in a
    bucket, whose name is ``host``. For ``file`` it is the folder's."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def target(self) -> str:
        """``HOST:PORT``, as gRPC has it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def secure(self) -> bool:
        """Whether nobody between here and there can read along."""
        return self.scheme in ("grpcs", "https") or self.host in _LOCAL

    def __str__(self) -> str:
        if self.scheme in _PORTS:
            return f"{self.scheme}://{self.target}" + f"/{self.path}" * bool(self.path)
        return f"{self.scheme}://{self.host}" + f"/{self.path.lstrip('/')}" * bool(self.path)


def parse(text: str) -> Address:
    """The address that a URL names. Raises WorkspaceError, saying what is expected."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise WorkspaceError(f"{_shown(text)}: {error}") from None
    if url.scheme not in SCHEMES or (not url.hostname and url.scheme != "file"):
        raise WorkspaceError(
            f"{_shown(text)}: expected grpc://HOST:PORT[/INSTANCE], grpcs://..., http://HOST[:PORT][/PATH], https://..., "
            "s3://BUCKET[/PREFIX], gs://..., az://... or file:///FOLDER"
        )
    if url.scheme == "file" and (url.netloc not in ("", "localhost") or not url.path.startswith("/")):
        raise WorkspaceError(f"{_shown(text)}: expected file:///FOLDER, with three slashes before an absolute path")
    if url.username or url.password or url.query or url.fragment:
        raise WorkspaceError(f"{_shown(text)}: give a token by ENGINEWRIGHT_REMOTE_TOKEN or token-file, nothing but the address here")
    path = url.path if url.scheme == "file" else url.path.strip("/")
    return Address(url.scheme, "" if url.scheme == "file" else url.hostname or "", port or _PORTS.get(url.scheme, 0), path)


def s3_endpoint(environment: Mapping[str, str]) -> str:
    """Where S3 is, if it is not Amazon's, by the variables that every tool for it reads. Raises WorkspaceError for what is no URL."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        if (text := environment.get(name)) is not None:
            try:
                url = urlsplit(text)
                whole = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
            except ValueError:
                whole = False
            if not whole:
                raise WorkspaceError(f"{name}: expected http://HOST:PORT or https://HOST[:PORT], got {text!r}")
            return text
    return ""


def _shown(text: str) -> str:
    """A URL without what may be a secret."""
    before, _, after = text.rpartition("@")
    scheme = f"{before.partition('://')[0]}://...@" if before else ""
    return f"{scheme}{after.partition('?')[0]}"


@dataclass(frozen=True)
class Access:
    """What is shown to a server: files in PEM format, and a token, which is never printed."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: str = field(default="", repr=False)

    def read(self, path: Path | None) -> bytes | None:
        """The bytes of one of the files; None for one that is not given. Raises WorkspaceError."""
        try:
            return None if path is None else path.read_bytes()
        except OSError as error:
            raise WorkspaceError(f"{path}: {error.strerror}") from None

    def headers(self, address: Address) -> dict[str, str]:
        """The token as a header. Raises WorkspaceError rather than have everybody on the way read it."""
        if not self.token:
            return {}
        if not address.secure:
            raise WorkspaceError(f"{address}: a token is not sent in clear text; use {address.scheme}s://")
        return {"authorization": f"Bearer {self.token}"}


def read_token(file: Path | None) -> str:
    """The token out of a file, or, where none is named, of the environment. Raises WorkspaceError."""
    if file is None:
        return os.environ.get("ENGINEWRIGHT_REMOTE_TOKEN", "").strip()
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"token-file {file}: {getattr(error, 'strerror', None) or 'is no text'}") from None
