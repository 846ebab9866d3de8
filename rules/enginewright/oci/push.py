"""Pushing an image layout to a registry: what is there already is not sent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from enginewright.errors import ActionError
from enginewright.oci import parallel
from enginewright.oci.blobs import sources
from enginewright.oci.contents import read_layout_contents
from enginewright.oci.layout import Descriptor, blob_path
from enginewright.oci.registry.client import Client, Repository
from enginewright.oci.registry.reference import Reference
from enginewright.oci.registry.streams import Readable

JOBS = 4
"""Blobs at a time."""


class Moved(NamedTuple):
    """How far a blob got: ``done`` of its bytes. At the end ``outcome`` says how: ``sent``, ``mounted``, ``there``, ``fetched``."""

    blob: Descriptor
    done: int
    outcome: str = ""


Watch = Callable[[Moved], None]


def unwatched(moved: Moved) -> None:
    """For nobody who watches."""


@dataclass(frozen=True)
class Pushed:
    """One image as it is in the registry now. ``unchanged``: it was there under this name already, and nothing but that was asked.

    ``outcomes`` maps the digests of its blobs to what was done about each; ``sent`` counts the bytes of blobs that went over the line.
    """

    reference: Reference
    digest: str
    unchanged: bool
    outcomes: dict[str, str]
    sent: int


def push(
    client: Client,
    layout: Path,
    to: Reference,
    mounts: Callable[[str], str | None] = lambda digest: None,
    watch: Watch = unwatched,
    jobs: int = JOBS,
) -> Pushed:
    """Push the image or index in a layout to ``to``, which has no digest: manifest last, so that its tag never names half of an image.

    ``mounts`` says which repository of the same registry probably has a blob. A blob that a shallow layout lacks is mounted, or streamed,
    from the registry that its base came from. Raises ActionError for a damaged layout, RegistryError, Cancelled.
    """
    if to.digest:
        raise ActionError(f"{to}: an image is pushed to a tag; its digest follows from its bytes")
    contents = read_layout_contents(layout)
    root = contents.root.descriptor
    repository = client.repository(to, push=True)
    there = repository.head_manifest(to.selector)
    if there is not None and there.digest == root.digest:
        return Pushed(to, root.digest, True, {}, 0)
    bases: dict[str, Reference] = {}
    with suppress(ActionError):  # not a layout of images; what it lacks is noticed below
        bases = sources(layout)

    def place(blob: Descriptor) -> tuple[str, int]:
        watch(Moved(blob, 0))
        if repository.has_blob(blob.digest):
            outcome, sent = "there", 0
        else:
            outcome, sent = _place(client, repository, layout, bases.get(blob.digest), blob, mounts(blob.digest), watch)
        watch(Moved(blob, blob.size, outcome))
        return outcome, sent

    # The largest first: they take longest, and nothing is left to wait for them alone.
    blobs = sorted(contents.blobs, key=lambda blob: -blob.size)
    placed = parallel.each(place, blobs, jobs, client.cancelled)
    for manifest in contents.manifests[:-1]:
        repository.put_manifest(manifest.descriptor.digest, manifest.descriptor.media_type, manifest.data)
    repository.put_manifest(to.selector, root.media_type, contents.root.data)
    outcomes = {blob.digest: outcome for blob, (outcome, _) in zip(blobs, placed)}
    return Pushed(to, root.digest, False, outcomes, sum(sent for _, sent in placed))


def _place(
    client: Client, repository: Repository, layout: Path, base: Reference | None, blob: Descriptor, mount: str | None, watch: Watch
) -> tuple[str, int]:
    path = blob_path(layout, blob.digest)
    here = path.exists()
    if here and path.stat().st_size != blob.size:
        raise ActionError(f"{path} has {path.stat().st_size} bytes, and should have {blob.size}: build it again")
    if not here and base is None:
        raise ActionError(f"{layout} lacks the blob {blob.digest}, and does not say which image it is from: build it again")
    if mount is None and base is not None and base.registry == repository.registry and base.repository != repository.name:
        mount = base.repository

    def source(offset: int) -> Readable:
        if not here:
            assert base is not None
            return client.repository(base).open_blob(blob, offset)
        file = path.open("rb", buffering=0)
        file.seek(offset)
        return file

    sent = repository.put_blob(blob, source, (mount,) if mount else (), lambda done: watch(Moved(blob, done)))
    return "mounted" if mount and not sent and blob.size else "sent", sent
