"""Pulling an image from a registry into an image layout: only what is not there yet, checked before it gets its name."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from enginewright.errors import ActionError
from enginewright.oci import parallel
from enginewright.oci.contents import Contents, Manifest, choose_platform, in_text, is_for, read_contents
from enginewright.oci.layout import Descriptor, blob_path, canonical_json, read_image
from enginewright.oci.media import INDEX, INDEXES, REF_NAME
from enginewright.oci.push import JOBS, Moved, Watch, unwatched
from enginewright.oci.registry.client import Client, Repository
from enginewright.oci.registry.errors import RegistryError, Transient
from enginewright.oci.registry.reference import Reference
from enginewright.oci.registry.transport import CHUNK
from enginewright.store.files import naming, write_atomically


@dataclass(frozen=True)
class Pulled:
    """``reference`` is the image by digest; ``outcomes`` maps the digests of its blobs to ``there`` or ``fetched``."""

    reference: Reference
    outcomes: dict[str, str]
    received: int


def resolve(repository: Repository, reference: Reference, platform: str | None) -> Manifest:
    """The manifest that a reference names, or, of an index, the one for ``platform``; the index itself where that is None.

    Raises RegistryError where there is none.
    """
    found = Manifest(*repository.get_manifest(reference.selector))
    if platform is None or found.descriptor.media_type not in INDEXES:
        return found
    try:
        chosen = choose_platform(found.read(), platform)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RegistryError(f"{reference}: {error}") from None
    return Manifest(*repository.get_manifest(chosen.digest))


def remote_contents(repository: Repository, root: Manifest) -> Contents:
    """Everything that belongs to a manifest or an index of a repository. Raises as `read_contents`, and RegistryError."""
    return read_contents(root, lambda wanted: repository.get_manifest(wanted.digest)[1], str(repository))


def pull(
    client: Client, reference: Reference, folder: Path, platform: str | None = None, watch: Watch = unwatched, jobs: int = JOBS
) -> Pulled:
    """Make ``folder`` a layout of an image, or of a whole index where ``platform`` is None.

    Blobs that it has from before are checked and kept, halves of blobs continued. ``index.json`` is written last: until then the folder
    is no layout, or still the one it was. Raises ActionError for a folder with other things in it, RegistryError, Cancelled, OSError.
    """
    repository = client.repository(reference)
    contents = remote_contents(repository, resolve(repository, reference, platform))
    blobs = folder / "blobs" / "sha256"
    if folder.exists() and not folder.is_dir():
        raise ActionError(f"{folder} is a file: name a folder, which an image layout is")
    if folder.exists() and not blobs.is_dir() and any(folder.iterdir()):
        raise ActionError(f"{folder} has other things in it than an image layout: name a folder of its own")
    blobs.mkdir(parents=True, exist_ok=True)

    def place(blob: Descriptor) -> tuple[str, int]:
        watch(Moved(blob, 0))
        received = 0 if _holds(blob_path(folder, blob.digest), blob) else _fetch(repository, blob, folder, watch)
        outcome = "fetched" if received else "there"
        watch(Moved(blob, blob.size, outcome))
        return outcome, received

    lock = os.open(blobs, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            client.notice(f"waiting for another pull into {folder} to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        order = sorted(contents.blobs, key=lambda blob: -blob.size)
        placed = parallel.each(place, order, jobs, client.cancelled)
        for manifest in contents.manifests:
            write_atomically(blob_path(folder, manifest.descriptor.digest), manifest.data)
        root = contents.root.descriptor
        entry = {**root.to_json(), **({"annotations": {REF_NAME: reference.tag}} if reference.tag else {})}
        write_atomically(folder / "oci-layout", canonical_json({"imageLayoutVersion": "1.0.0"}))
        write_atomically(folder / "index.json", canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}))
        if platform is not None:
            _compare_platform(client, reference, folder, platform)
    finally:
        os.close(lock)
    return Pulled(
        reference.at(root.digest), {blob.digest: outcome for blob, (outcome, _) in zip(order, placed)}, sum(count for _, count in placed)
    )


def _compare_platform(client: Client, reference: Reference, folder: Path, platform: str) -> None:
    """Say so where an image, the only one of its name, is for another platform than is wanted: it is taken all the same, as Docker does."""
    with suppress(ActionError):  # no image, but something else that is kept in a registry
        found = read_image(folder).platform
        if not is_for(found, platform):
            client.notice(f"{reference} is an image for {in_text(found)}, and there is none for {platform}")


def _holds(path: Path, blob: Descriptor) -> bool:
    """Whether a file is the blob, all of it; another one of its name is removed."""
    sha256 = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while data := file.read(CHUNK):
                sha256.update(data)
    except FileNotFoundError:
        return False
    if f"sha256:{sha256.hexdigest()}" == blob.digest:
        return True
    path.unlink()
    return False


def _fetch(repository: Repository, blob: Descriptor, folder: Path, watch: Watch) -> int:
    """Fetch a blob to its place, from where an interrupted pull left off, and return how many bytes came."""
    path = blob_path(folder, blob.digest)
    part = path.with_name(f"{path.name}.part")
    # Buffered: a raw file takes less than it is given when the disk is nearly full, and does not say so.
    with naming(path), part.open("a+b") as file:
        received = _complete(repository, blob, file, watch)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(part, 0o644)
    os.rename(part, path)
    return received


def _complete(repository: Repository, blob: Descriptor, file: BinaryIO, watch: Watch) -> int:
    """Fetch what a file lacks of a blob, or all of it where what it has is damaged, and return how many bytes came."""
    sha256, begun = hashlib.sha256(), 0
    file.seek(0)
    while data := file.read(CHUNK):
        sha256.update(data)
        begun += len(data)
    if begun == blob.size and f"sha256:{sha256.hexdigest()}" == blob.digest:
        return 0
    if begun >= blob.size:
        file.truncate(0)
        sha256, begun = hashlib.sha256(), 0
    done = begun
    try:
        with repository.open_blob(blob, begun, sha256) as stream:
            while data := stream.read(CHUNK):
                file.write(data)
                done += len(data)
                watch(Moved(blob, done))
    except RegistryError as error:
        if error.status or isinstance(error, Transient):
            raise  # the next pull goes on
        file.truncate(0)  # other bytes, or too many: none of them are worth keeping
        if not begun:
            with suppress(OSError):
                os.unlink(file.name)
            raise
        repository.client.notice(f"what an earlier pull left of {blob.digest} is damaged: it is fetched anew")
        return done - begun + _complete(repository, blob, file, watch)
    return done - begun
