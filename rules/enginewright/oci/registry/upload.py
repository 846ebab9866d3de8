"""Pushing one blob: mounted, or sent in one request, and sent on from where the registry got to when a connection breaks.

distribution-spec 1.1, "Pushing blobs": the session of a POST is ended by a PUT, which may carry all of the blob or its last part.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlencode

from enginewright.oci.layout import Descriptor
from enginewright.oci.registry.client import Repository, mount_query
from enginewright.oci.registry.errors import TRANSIENT, Cancelled, RegistryError, Transient
from enginewright.oci.registry.streams import Readable
from enginewright.oci.registry.transport import CHUNK, Answer, join

_PART = 32 << 20
"""Bytes sent in one request where a registry, or a proxy before it, refuses the whole blob as too large."""

_LOST = frozenset({404, 416})
"""Answers by which a registry says that it has no such session, or has it at another offset."""


_NO_PARTS = frozenset({400, 405, 415, 501})
"""Answers to a part that may mean that this registry takes none."""


class Upload:
    """One blob on its way into a repository. ``source`` opens it at an offset; ``sent`` is told how far it got."""

    def __init__(self, repository: Repository, blob: Descriptor, source: Callable[[int], Readable], sent: Callable[[int], None]) -> None:
        self._repository = repository
        self._blob = blob
        self._source = source
        self._sent = sent
        self._backoff = repository.client.backoff()
        self._part = blob.size
        self._parts_refused = False
        self._bytes = 0
        self._at = 0
        self._furthest = 0

    def run(self, mount_from: Sequence[str]) -> int:
        """Push it, and return how many bytes were sent."""
        location = self._backoff.retry(lambda: self._start(mount_from))
        offset = 0
        while location is not None:
            try:
                location, offset = self._send_part(location, offset)
                self._got_to(offset)
            except Transient as problem:
                self._backoff.wait(problem)
                location, reached = self._backoff.retry(lambda at=location: self._where(at))  # type: ignore[misc]
                if not self._got_to(reached) and not self._parts_refused and problem.status != 401:
                    self._part = min(self._part, _PART)  # a proxy that does not like the size may just hang up
                offset = reached
        self._sent(self._blob.size)
        return self._bytes

    def _start(self, mount_from: Sequence[str] = ()) -> str | None:
        """The address of a new session, or None when the blob was mounted."""
        uploads = f"/v2/{self._repository.name}/blobs/uploads/"
        for other in mount_from:
            answer = self._repository.ask("POST", f"{uploads}?{mount_query(self._blob.digest, other)}", also=(other,))
            if answer.status == 201:
                return None
            if answer.status == 202:  # the other repository has no such blob, or is none of ours: a session has been begun instead
                return self._location(answer)
            if answer.status in TRANSIENT:
                raise self._repository.refusal(answer, f"a mount of {self._blob.digest}")
        answer = self._repository.ask("POST", uploads)
        if answer.status != 202:
            raise self._repository.refusal(answer, "a request to upload")
        return self._location(answer)

    def _send_part(self, location: str, offset: int) -> tuple[str | None, int]:
        """Send a part, the last one with the PUT that ends the session; where to go on, and from which offset, or None at the end."""
        size = min(self._part, self._blob.size - offset)
        last = offset + size == self._blob.size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        if not last or offset:
            headers["Content-Range"] = f"{offset}-{offset + size - 1}"
        url = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': self._blob.digest})}" if last else location
        with _for_good():
            opened = self._source(offset)
        with closing(opened) as source:
            self._at = offset
            body = _pieces(source, size, self._moved, self._repository.client.cancelled)
            answer = self._repository.ask("PUT" if last else "PATCH", url, headers, body)
        if last and answer.status in (201, 204):
            stored = answer.headers.get("Docker-Content-Digest", self._blob.digest)
            if stored != self._blob.digest:
                raise RegistryError(f"{self._repository}: {self._repository.registry} stored {stored} where {self._blob.digest} was sent")
            return None, self._blob.size
        if not last and answer.status == 202:
            return self._location(answer), offset + size
        if answer.status == 413 and size > _PART and not self._parts_refused:
            self._part = _PART
            return self._start(), 0
        if not last and answer.status in _NO_PARTS and not self._parts_refused:
            self._part, self._parts_refused = self._blob.size, True
            return self._start(), 0
        if answer.status in _LOST:
            raise Transient(f"{self._repository.registry} lost the upload of {self._blob.digest} ({answer.status})", answer.status)
        if answer.status == 400:
            self._check_source()
        raise self._repository.refusal(answer, f"a push of {self._blob.digest}")

    def _where(self, location: str) -> tuple[str | None, int]:
        """The session after a break, and the offset to go on from; a new one where the registry does not know, None if all is there."""
        answer = self._repository.ask("GET", location)
        reached = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.headers.get("Range", ""))
        # The range "0-0" is what registries say both of one byte and of none.
        if answer.status == 204 and reached and 0 < int(reached[1]) < self._blob.size - 1:
            return (self._location(answer) if "Location" in answer.headers else location), int(reached[1]) + 1
        if answer.status in TRANSIENT:
            raise self._repository.refusal(answer, "a question how far an upload got")
        there = self._repository.ask("HEAD", f"/v2/{self._repository.name}/blobs/{self._blob.digest}")
        if there.status == 200:  # only the answer was lost
            return None, self._blob.size
        if answer.status == 204:
            with suppress(RegistryError):  # it would go by itself in some days
                self._repository.ask("DELETE", location)
        return self._start(), 0

    def _got_to(self, offset: int) -> bool:
        """Whether this is further than ever. Only that is progress: a registry may lose all it had, again and again."""
        further = offset > self._furthest
        if further:
            self._furthest = offset
            self._backoff.progressed()
        return further

    def _location(self, answer: Answer) -> str:
        if "Location" not in answer.headers:
            raise RegistryError(f"{self._repository}: {self._repository.registry} began an upload and did not say where it goes on")
        return join(self._repository.client.url(self._repository.registry, "/"), answer.headers["Location"])

    def _moved(self, count: int) -> None:
        self._bytes += count
        self._at += count
        self._sent(self._at)

    def _check_source(self) -> None:
        """Where a registry refuses the bytes, say so if it is because they are not those that the digest is of."""
        sha256 = hashlib.sha256()
        with closing(self._source(0)) as source:
            while data := source.read(CHUNK):
                sha256.update(data)
        if f"sha256:{sha256.hexdigest()}" != self._blob.digest:
            raise RegistryError(f"the bytes to be pushed as {self._blob.digest} are others: they were changed afterwards; build again")


@contextmanager
def _for_good() -> Iterator[None]:
    """Have a source that fails for some time, which another registry may be, be no reason to send again: it was asked often enough."""
    try:
        yield
    except Transient as error:
        raise RegistryError(str(error), error.status) from None


def _pieces(source: Readable, size: int, moved: Callable[[int], None], cancelled: threading.Event) -> Iterator[bytes]:
    """The next ``size`` bytes, and their count to ``moved`` once they have gone."""
    left = size
    while left:
        if cancelled.is_set():
            raise Cancelled
        with _for_good():
            data = source.read(min(left, CHUNK))
        if not data:
            raise RegistryError(f"what is pushed ended {left} bytes too early: it was cut off after it was made; build again")
        yield data
        left -= len(data)
        moved(len(data))
