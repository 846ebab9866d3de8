"""Bundles in a bucket of Amazon S3, or of anything that speaks its protocol, through `obstore`.

An object appears when its upload is complete: a large one is sent in parts, which nobody sees before. Each carries its SHA-256 as
metadata, so that what is there already is known without reading it.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from enginewright.bundle.destination import LATEST, Progress, Published
from enginewright.bundle.sums import SUMS, Bundle, decode
from enginewright.errors import ActionError, WorkspaceError
from enginewright.remote.address import s3_endpoint
from enginewright.remote.objection import in_a_line, lacks_credentials

if TYPE_CHECKING:
    from obstore.store import S3Store

_PART = 8 << 20
"""Bytes of a part. S3 takes 10,000 of them, so a file has at most 84 GB; larger ones are sent in larger parts."""

_MOST_PARTS = 10_000
_CHUNK = 1 << 20
_SHA256 = "sha256"


def open_bucket(bucket: str, prefix: str, environment: Mapping[str, str]) -> Bucket:
    """The bucket, with keys, region and endpoint from the variables that every tool for S3 reads (``AWS_ACCESS_KEY_ID`` and so on).

    Raises WorkspaceError where obstore is not installed, and for an endpoint that is no URL, or is without TLS and not on this machine.
    """
    try:
        from obstore.store import S3Store
    except ImportError:
        raise WorkspaceError("publishing to S3 needs the distribution obstore: pip install 'enginewright[s3]'") from None
    endpoint = s3_endpoint(environment)
    plain = urlsplit(endpoint).scheme == "http"
    if plain and not _loopback(urlsplit(endpoint).hostname or ""):
        raise WorkspaceError(f"{endpoint}: keys and models would go there in the clear: use https")
    options: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    retries: Any = {"max_retries": 4, "backoff": {"base": 2.0}}
    with _in_words(f"s3://{bucket}"):
        store = S3Store(bucket, prefix=prefix or None, client_options={"allow_http": plain}, retry_config=retries, **options)
    return Bucket(store, f"s3://{bucket}/{prefix}".rstrip("/"))


class Bucket:
    """Bundles below a prefix of a bucket; ``latest`` is an object with the name of one of them. ``place`` is what it is called."""

    def __init__(self, store: S3Store, place: str) -> None:
        self._store = store
        self._place = place

    def publish(self, folder: Path, bundle: Bundle, progress: Progress) -> Published:
        """As in `Destination`. What is there already, of an upload that was cut off or in the latest bundle, is not sent again.

        SHA256SUMS is sent last: where it is, all is.
        """
        with _in_words(self._place):
            latest = self._latest()
            known = {digest: f"{latest.name}/{name}" for name, digest in latest.files.items()} if latest else {}
            sent = size = copied = there = 0
            for name, digest in bundle.files.items():
                key, length = f"{bundle.name}/{name}", (folder / name).stat().st_size
                if self._holds(key, length, digest):
                    there += 1
                elif digest in known and self._holds(known[digest], length, digest) and self._copy(known[digest], key, length, digest):
                    copied += 1
                else:
                    self._send(folder / name, key, digest, name, progress)
                    sent, size = sent + 1, size + length
            if sent or copied or not self._holds(f"{bundle.name}/{SUMS}", len(bundle.encode()), _digest(bundle.encode())):
                self._put(f"{bundle.name}/{SUMS}", bundle.encode())
        return Published(f"{self._place}/{bundle.name}", sent, size, copied, there)

    def point(self, bundle: Bundle) -> None:
        """As in `Destination`."""
        with _in_words(self._place):
            self._put(LATEST, f"{bundle.name}\n".encode())

    def _latest(self) -> Bundle | None:
        """The bundle that ``latest`` points to; None when there is none that can be read."""
        import obstore

        try:
            name = bytes(obstore.get(self._store, LATEST).bytes()).decode().strip()
            bundle = decode(bytes(obstore.get(self._store, f"{name}/{SUMS}").bytes()), f"{self._place}/{name}/{SUMS}")
        except (FileNotFoundError, UnicodeDecodeError, ActionError):
            return None
        return bundle if bundle.name == name else None

    def _holds(self, key: str, size: int, digest: str) -> bool:
        import obstore

        try:
            found = obstore.get(self._store, key, options={"head": True})
        except FileNotFoundError:
            return False
        return found.meta["size"] == size and found.attributes.get(_SHA256) == digest

    def _copy(self, source: str, key: str, size: int, digest: str) -> bool:
        """Have the server copy an object, and say whether it did: not all can, and none more than 5 GB."""
        import obstore

        try:
            obstore.copy(self._store, source, key)
        except (obstore.exceptions.GenericError, NotImplementedError):
            return False
        return self._holds(key, size, digest)

    def _send(self, source: Path, key: str, digest: str, name: str, progress: Progress) -> None:
        import obstore

        size, state = source.stat().st_size, hashlib.sha256()

        def pieces() -> Iterator[bytes]:
            done = 0
            with source.open("rb") as file:
                while data := file.read(_CHUNK):
                    state.update(data)
                    done += len(data)
                    yield data
                    progress(name, done, size)

        part = max(_PART, -(-size // _MOST_PARTS))
        attributes: Any = {_SHA256: digest}
        obstore.put(self._store, key, pieces(), attributes=attributes, use_multipart=size > part, chunk_size=part, max_concurrency=4)
        if state.hexdigest() != digest:
            obstore.delete(self._store, key)
            raise WorkspaceError(f"{source} has other bytes than {SUMS} beside it says: build it again")

    def _put(self, key: str, data: bytes) -> None:
        import obstore

        attributes: Any = {_SHA256: _digest(data)}
        obstore.put(self._store, key, data, attributes=attributes, use_multipart=False)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _in_words(place: str) -> Iterator[None]:
    """Have what a server refused said in a line. Of its answer the code is quoted, not the rest."""
    import obstore

    errors = obstore.exceptions
    try:
        yield
    except (errors.PermissionDeniedError, errors.UnauthenticatedError) as error:
        raise WorkspaceError(
            f"{place} refused the request: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they allow\n{in_a_line(error)}"
        ) from None
    except FileNotFoundError as error:
        raise WorkspaceError(f"{place} is not there: make the bucket first\n{in_a_line(error)}") from None
    except ValueError as error:
        raise WorkspaceError(f"{place} cannot be a place in S3: {in_a_line(error)}") from None
    except errors.BaseError as error:
        if lacks_credentials(error):
            raise WorkspaceError(f"{place}: there are no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from None
        raise WorkspaceError(
            f"{place} could not be reached, or failed: run it again, it goes on where it was\n{in_a_line(error)}"
        ) from None
