"""A registry's API: OCI distribution-spec 1.1 (https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md).

``Client().repository(Reference.parse(...))`` is one repository; its methods are the endpoints of the specification.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from enginewright.oci.layout import Descriptor, canonical_json, read_json
from enginewright.oci.media import INDEX, INDEXES, MANIFESTS
from enginewright.oci.registry.auth import Authenticator
from enginewright.oci.registry.backoff import Backoff
from enginewright.oci.registry.errors import TRANSIENT, Cancelled, RegistryError, Transient, refusal
from enginewright.oci.registry.reference import DOCKER_HUB, Reference
from enginewright.oci.registry.streams import Checked, Readable, skip
from enginewright.oci.registry.transport import Access, Answer, Body, Transport, dropped, join, origin, whole

_ACCEPT = ", ".join(sorted(INDEXES | MANIFESTS))

_VERIFIED = Access()


class Client:
    """Speaks with any number of registries; any number of threads may use it.

    ``notice`` gets a line for each attempt that failed and is made again, and for other waits. When ``cancelled`` is set, everything
    that waits or transfers raises Cancelled soon.
    """

    def __init__(
        self, access: Access = _VERIFIED, notice: Callable[[str], None] = lambda line: None, cancelled: threading.Event | None = None
    ) -> None:
        self.cancelled = cancelled or threading.Event()
        self.notice = notice
        self._transport = Transport(access, self.cancelled)
        self._authenticators: dict[str, Authenticator] = {}

    def repository(self, reference: Reference, push: bool = False) -> Repository:
        """The repository of a reference, to read from, or to ``push`` to."""
        return Repository(self, reference.registry, reference.repository, push)

    def backoff(self) -> Backoff:
        """Pauses for one thing that is tried again."""
        return Backoff(self.cancelled, self.notice)

    def url(self, registry: str, path: str) -> str:
        """The address of a path of a registry's API."""
        # Docker Hub's API is on another host than its name says.
        return self._transport.url("registry-1.docker.io" if registry == DOCKER_HUB else registry, path)

    def send(
        self, registry: str, method: str, url: str, scopes: Collection[str], headers: Mapping[str, str], body: Body = None
    ) -> urllib3.BaseHTTPResponse:
        """One request with the authorization it needs, and its answer, whatever it is.

        Raises as `Transport.send` does, and Transient for a body in pieces that was sent with an authorization that had run out.
        """
        authenticator = self._authenticators.setdefault(registry, Authenticator(registry, self._transport.ask))
        ours = origin(url)[1] == origin(self.url(registry, "/"))[1]
        for again in (True, False):
            authorization = authenticator.header(scopes) if ours else None
            wanted = {"User-Agent": "enginewright", **headers, **({"Authorization": authorization} if authorization else {})}
            response = self._transport.send(method, url, wanted, body)
            # One that was given out just now and is refused will not get better: a token service gives out any number of them.
            if not again or response.status != 401 or not ours:
                break
            if not authenticator.answer(response.headers.getlist("WWW-Authenticate"), scopes, authorization):
                break
            response.drain_conn()
            if not isinstance(body, (bytes, type(None))):  # some of it is gone
                raise Transient(f"the authorization for {registry} ran out", 401)
        return response


class Repository:
    """One repository of a registry. Errors are RegistryErrors, and name it."""

    def __init__(self, client: Client, registry: str, name: str, push: bool) -> None:
        self.client = client
        self.registry = registry
        self.name = name
        self._scopes = frozenset({f"repository:{name}:{'pull,push' if push else 'pull'}"})

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}"

    def head_manifest(self, selector: str) -> Descriptor | None:
        """The descriptor of the manifest with this tag or digest, or None where there is none; its bytes are not read."""
        answer = self._ask("HEAD", self._manifest(selector), {"Accept": _ACCEPT})
        if answer.status == 404:
            return None
        self._expect(answer, f"the question for {selector}", 200)
        try:
            return Descriptor(_media_type(answer), answer.headers["Docker-Content-Digest"], int(answer.headers["Content-Length"]))
        except (KeyError, ValueError):  # headers that are not required; then the manifest itself tells
            return self.get_manifest(selector)[0]

    def get_manifest(self, selector: str) -> tuple[Descriptor, bytes]:
        """A manifest or an index, by tag or digest, and its descriptor. The bytes are checked against the digest that was asked for."""
        answer = self._ask("GET", self._manifest(selector), {"Accept": _ACCEPT})
        self._expect(answer, f"a request for {selector}", 200)
        digest = digest_of(answer.body)
        for wanted in (selector, answer.headers.get("Docker-Content-Digest", "")):
            if wanted.startswith("sha256:") and wanted != digest:
                raise RegistryError(f"{self}: what {self.registry} sends for {wanted} are other bytes: their digest is {digest}")
        return Descriptor(_media_type(answer), digest, len(answer.body)), answer.body

    def put_manifest(self, selector: str, media_type: str, data: bytes) -> Descriptor:
        """Push a manifest or an index under a tag or its digest; a ``subject`` in it makes it a referrer (`referrers`)."""
        answer = self._ask("PUT", self._manifest(selector), {"Content-Type": media_type}, data)
        size = f", a manifest of {len(data) / (1 << 20):.1f} MiB where registries need not take more than 4," if len(data) > 4 << 20 else ""
        self._expect(answer, f"a push of {selector}{size}", 201)
        digest = digest_of(data)
        stored = answer.headers.get("Docker-Content-Digest", digest)
        if stored != digest:
            raise RegistryError(f"{self}: {self.registry} says that it stored {selector} as {stored}, but its digest is {digest}")
        described = Descriptor(media_type, digest, len(data))
        manifest = json.loads(data)
        # Without this header the registry did not understand the subject: "Pushing Manifests with Subject".
        if "subject" in manifest and "OCI-Subject" not in answer.headers:
            self._add_to_fallback_tag(described, manifest)
        return described

    def delete_manifest(self, digest: str) -> None:
        """Delete a manifest, if the registry allows that."""
        answer = self._ask("DELETE", self._manifest(digest))
        self._expect(answer, f"a request to delete {digest}", 202, 404)

    def tags(self) -> list[str]:
        """All tags, sorted; none where there is no such repository."""
        found: list[str] = []
        url: str | None = f"/v2/{self.name}/tags/list"
        while url:
            answer = self._ask("GET", url)
            if answer.status == 404:
                return []
            self._expect(answer, "a request for its tags", 200)
            page = _object(answer, self).get("tags") or []
            found += page
            url = _next(answer) if page else None
        return sorted(set(found))

    def referrers(self, digest: str, artifact_type: str = "") -> list[dict[str, Any]]:
        """Descriptors of the manifests whose subject has this digest: signatures, attestations, SBOMs.

        From the referrers API, or from the tag that stands in for it where a registry has none ("Referrers Tag Schema").
        """
        answer = self._ask("GET", f"/v2/{self.name}/referrers/{digest}", {"Accept": INDEX})
        if answer.status != 200:
            answer = self._ask("GET", self._manifest(fallback_tag(digest)), {"Accept": INDEX})
            if answer.status == 404:
                return []
            self._expect(answer, f"a request for what refers to {digest}", 200)
        found: list[dict[str, Any]] = list(_object(answer, self).get("manifests") or [])
        return [each for each in found if not artifact_type or each.get("artifactType") == artifact_type]

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob."""
        answer = self._ask("HEAD", f"/v2/{self.name}/blobs/{digest}")
        if answer.status == 404:
            return False
        self._expect(answer, f"the question for {digest}", 200)
        return True

    def open_blob(self, blob: Descriptor, offset: int = 0, before: hashlib._Hash | None = None) -> Checked:
        """A blob as a stream, from an offset. It is checked while it is read, and read on after a connection that broke.

        ``before`` is the SHA-256 of what comes before the offset; without it that is read too, for the check's sake. Raises
        RegistryError, then and while reading; its ``status`` is 0 for bytes that are not those of the digest.
        """
        if before is not None:
            return Checked(_Download(self, blob, offset), blob, str(self), before, offset)
        checked = Checked(_Download(self, blob, 0), blob, str(self))
        skip(checked, offset)
        return checked

    def read_blob(self, blob: Descriptor) -> bytes:
        """A whole small blob, as a configuration."""
        with self.open_blob(blob) as stream:
            return stream.read()

    def put_bytes(self, media_type: str, data: bytes) -> Descriptor:
        """Push a small blob, if it is not there yet."""
        import io

        blob = Descriptor(media_type, digest_of(data), len(data))
        if not self.has_blob(blob.digest):
            self.put_blob(blob, lambda offset: io.BytesIO(data[offset:]))
        return blob

    def put_blob(
        self, blob: Descriptor, source: Callable[[int], Readable], mount_from: Sequence[str] = (), sent: Callable[[int], None] | None = None
    ) -> int:
        """Push a blob that is not there yet: mounted from one of the registry's repositories that ``mount_from`` names, or sent.

        ``source`` opens the blob at an offset; ``sent`` is told how many of its bytes have gone. Returns the bytes that were sent, again
        or not. The registry compares them with the digest before it keeps them.
        """
        from enginewright.oci.registry.upload import Upload

        return Upload(self, blob, source, sent or (lambda count: None)).run(mount_from)

    def ask(self, method: str, url: str, headers: Mapping[str, str] = {}, body: Body = None, also: Collection[str] = ()) -> Answer:
        """One request to an address or a path of the registry's, once, and its whole answer. ``also`` are repositories to read from."""
        return whole(self.send(method, url, headers, body, also))

    def send(
        self, method: str, url: str, headers: Mapping[str, str] = {}, body: Body = None, also: Collection[str] = ()
    ) -> urllib3.BaseHTTPResponse:
        """As `ask`, with the answer's body still to be read."""
        address = join(self.client.url(self.registry, "/"), url)
        scopes = self._scopes | {f"repository:{name}:pull" for name in also}
        return self.client.send(self.registry, method, address, scopes, headers, body)

    def refusal(self, answer: Answer, what: str) -> RegistryError:
        """An answer that is no success, in words; a Transient where it may be another one soon."""
        return refusal(answer.status, answer.headers, answer.body, f"{what} of {self}", self.registry)

    def _ask(self, method: str, url: str, headers: Mapping[str, str] = {}, body: bytes | None = None) -> Answer:
        """A request that may be made again, and is, until it has an answer that is not likely to change."""

        def attempt() -> Answer:
            answer = self.ask(method, url, headers, body)
            if answer.status in TRANSIENT:
                raise self.refusal(answer, f"{method} {url.rpartition('/v2/')[2]}")
            return answer

        return self.client.backoff().retry(attempt)

    def _expect(self, answer: Answer, what: str, *statuses: int) -> None:
        if answer.status not in statuses:
            raise self.refusal(answer, what)

    def _manifest(self, selector: str) -> str:
        return f"/v2/{self.name}/manifests/{selector}"

    def _add_to_fallback_tag(self, referrer: Descriptor, manifest: Mapping[str, Any]) -> None:
        subject = manifest["subject"]["digest"]
        entry: dict[str, Any] = referrer.to_json()
        entry["artifactType"] = manifest.get("artifactType") or manifest.get("config", {}).get("mediaType")
        if manifest.get("annotations"):
            entry["annotations"] = manifest["annotations"]
        answer = self._ask("GET", self._manifest(fallback_tag(subject)), {"Accept": INDEX})
        if answer.status != 404:
            self._expect(answer, f"a request for what refers to {subject}", 200)
        index: dict[str, Any] = _object(answer, self) if answer.status == 200 else {"schemaVersion": 2, "mediaType": INDEX}
        listed: list[dict[str, Any]] = index.get("manifests") or []
        others = [each for each in listed if each.get("digest") != referrer.digest]
        data = canonical_json({**index, "manifests": [*others, entry]})
        self._expect(self._ask("PUT", self._manifest(fallback_tag(subject)), {"Content-Type": INDEX}, data), "a push of a referrer", 201)


class _Download:
    """The bytes of a blob, over as many connections as it takes."""

    def __init__(self, repository: Repository, blob: Descriptor, offset: int) -> None:
        self._repository = repository
        self._blob = blob
        self._read = offset
        self._backoff = repository.client.backoff()
        self._response: urllib3.BaseHTTPResponse | None = self._backoff.retry(self._open)

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; none at the end."""
        while True:
            try:
                return self._read_on(size)
            except Transient as problem:
                self.close()
                self._backoff.wait(problem)

    def close(self) -> None:
        """Leave the connection to others if all was read, and end it otherwise."""
        if self._response is not None:
            if self._read < self._blob.size:
                self._response.close()
            self._response.release_conn()
            self._response = None

    def _read_on(self, size: int) -> bytes:
        if self._repository.client.cancelled.is_set():
            raise Cancelled
        if self._response is None:
            self._response = self._open()
        try:
            data: bytes = self._response.read(None if size < 0 else size)
        except (HTTPError, OSError) as error:
            raise dropped(self._repository.registry, error) from None
        self._read += len(data)
        if data:
            self._backoff.progressed()
        elif self._read < self._blob.size:
            raise Transient(f"{self._repository.registry} sent only {self._read} of the {self._blob.size} bytes of {self._blob.digest}")
        return data

    def _open(self) -> urllib3.BaseHTTPResponse:
        repository = self._repository
        wanted = {"Range": f"bytes={self._read}-"} if self._read else {}
        response = repository.send("GET", f"/v2/{repository.name}/blobs/{self._blob.digest}", wanted)
        if response.status == 206 and self._read:
            return response
        if response.status != 200:
            raise repository.refusal(whole(response), f"a request for {self._blob.digest}")
        try:
            skip(response, self._read)  # a registry that knows no ranges begins anew
        except (HTTPError, OSError) as error:
            raise dropped(repository.registry, error) from None
        return response


def digest_of(data: bytes) -> str:
    """The SHA-256 of bytes as OCI writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def fallback_tag(digest: str) -> str:
    """The tag under which a registry without the referrers API has the referrers of a digest."""
    return digest.replace(":", "-")


def _media_type(answer: Answer) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip()


def _object(answer: Answer, repository: Repository) -> dict[str, Any]:
    try:
        return read_json(answer.body)
    except ValueError:
        raise RegistryError(f"{repository}: {repository.registry} answers with something other than a JSON object") from None


def _next(answer: Answer) -> str | None:
    """The next page: ``Link: <URL>; rel="next"``."""
    link = answer.headers.get("Link", "")
    return link[1 : link.index(">")] if link.startswith("<") and ">" in link and 'rel="next"' in link else None


def mount_query(digest: str, repository: str) -> str:
    """The query of a request for a mount: "Mounting a blob from another repository"."""
    return urlencode({"mount": digest, "from": repository})
