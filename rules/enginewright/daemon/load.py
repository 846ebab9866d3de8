"""Loading an image into the Docker Engine: only the layers that it lacks.

The archive is that of `docker save` (https://github.com/moby/docker-image-spec/blob/v1.2.0/v1.2.md, "Combined Image JSON + Filesystem
Changeset Format"). An Engine with the classic image store looks into it only for layers whose chain it does not have: those below may be
left out. One with containerd's store wants all of them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from enginewright.errors import ActionError, in_words
from enginewright.oci.blobs import open_blob
from enginewright.oci.compression import decompressed
from enginewright.oci.layout import Descriptor, Image, blob_path, canonical_json, read_image
from enginewright.oci.tar import Member, header

if TYPE_CHECKING:
    import docker

    from enginewright.oci.push import Watch

_CHUNK = 1 << 20
_MANIFEST = "manifest.json"
_TOO_DEEP = "max depth exceeded"


class Loaded(NamedTuple):
    """What loading took: the image's id, how many of its ``layers`` were sent, and how many bytes.

    ``whole`` says why all of them were sent, where that was so for another reason than that the Engine had none; empty otherwise.
    """

    image: str
    layers: int
    sent_layers: int
    sent_bytes: int
    whole: str = ""


def load(client: docker.DockerClient, layout: Path, names: Sequence[str], watch: Watch = lambda moved: None) -> Loaded:
    """Have the Engine know the image in ``layout`` by each of ``names``, as ``NAME:TAG``; ``watch`` is told how far layers got.

    A layer that is neither here nor there comes from the registry that the base is from. Raises ActionError for a layout of no one image,
    for such a layer that cannot be had, and where the Engine has another image afterwards; the
    SDK's errors for what the Engine refuses.
    """
    from docker.errors import APIError, ImageNotFound

    image = read_image(layout)
    identity = image.manifest["config"]["digest"]
    with suppress(ImageNotFound):
        if client.api.inspect_image(identity)["Id"] == identity:
            _tag(client, identity, names)
            return Loaded(identity, len(image.layers), 0, 0)
    whole = "it keeps images in containerd's store, which wants all of an image" if _containerd(client) else ""
    known = 0 if whole else _known(client, image.diff_ids, names)
    try:
        sent = _send(client, layout, image, names, known, watch)
    except (APIError, ActionError) as error:
        if not known or _TOO_DEEP in str(error):
            raise
        whole = f"it did not take the new layers alone ({getattr(error, 'explanation', None) or error})"
        known = 0
        sent = _send(client, layout, image, names, known, watch)
    return Loaded(identity, len(image.layers), len(image.layers) - known, sent, whole)


def _send(client: docker.DockerClient, layout: Path, image: Image, names: Sequence[str], known: int, watch: Watch) -> int:
    sent = 0

    def counted(pieces: Iterable[bytes]) -> Iterator[bytes]:
        nonlocal sent
        for piece in pieces:
            yield piece
            sent += len(piece)

    identity = image.manifest["config"]["digest"]
    with tempfile.TemporaryDirectory() as scratch:
        members = _members(layout, image, names, known, Path(scratch))
        for line in client.api.load_image(counted(_archive(members, watch)), quiet=True):
            said = line if isinstance(line, dict) else json.loads(line)
            if "error" in said:
                raise ActionError(_refusal(said["error"], len(image.layers)))
    found = client.api.inspect_image(names[0] if names else identity)["Id"]
    if found != identity:
        raise ActionError(f"Docker made another image of it, {found}, and not {identity}")
    return sent


def _refusal(said: str, layers: int) -> str:
    if _TOO_DEEP in said:
        return f"{_TOO_DEEP}: it has {layers} layers, and Docker puts at most 125 on one another: put what is in several into one"
    return f"Docker did not take the image: {said}"


def _tag(client: docker.DockerClient, identity: str, names: Iterable[str]) -> None:
    for name in names:
        repository, _, tag = name.rpartition(":")
        client.api.tag(identity, repository, tag, force=True)


def _containerd(client: docker.DockerClient) -> bool:
    status = client.api.info().get("DriverStatus") or ()
    return any("io.containerd.snapshotter" in str(each) for each in status)


def _known(client: docker.DockerClient, diff_ids: Sequence[str], names: Iterable[str]) -> int:
    """How many layers, from the lowest, the Engine has one on top of the other, as part of some image."""
    from docker.errors import ImageNotFound

    best = 0
    # Most likely it is the last version of this image that has most.
    for name in (*names, *(each["Id"] for each in client.api.images(all=True))):
        with suppress(ImageNotFound):  # it was not there, or was removed just now
            theirs = client.api.inspect_image(name)["RootFS"].get("Layers") or ()
            same = next((i for i, (ours, other) in enumerate(zip(diff_ids, theirs)) if ours != other), min(len(diff_ids), len(theirs)))
            best = max(best, same)
        if best >= len(diff_ids) - 1:
            break
    return best


def _members(layout: Path, image: Image, names: Sequence[str], known: int, scratch: Path) -> Iterator[tuple[Member, Descriptor | None]]:
    """The members of the archive, without the ``known`` lowest layers; and which layer each is."""
    config = image.manifest["config"]["digest"]
    layers = [f"{descriptor.digest.removeprefix('sha256:')}.tar" for descriptor in image.layers]
    described = [{"Config": f"{config.removeprefix('sha256:')}.json", "RepoTags": list(names), "Layers": layers}]
    yield Member(_MANIFEST, "file", 0o644, canonical_json(described)), None
    yield Member(f"{config.removeprefix('sha256:')}.json", "file", 0o644, blob_path(layout, config).read_bytes()), None
    # One blob may be several layers: an empty one often is.
    for name, descriptor in dict.fromkeys(list(zip(layers, image.layers))[known:]):
        blob = blob_path(layout, descriptor.digest)
        try:
            if not blob.exists():
                blob = _fetched(layout, descriptor, scratch / "fetched")
            if descriptor.media_type.endswith("zstd"):  # Docker before 23 knows none
                blob = _unpacked(blob, scratch / "unpacked")
        except OSError as error:  # it would be taken for one of the connection
            raise ActionError(in_words(error, f"make room in {scratch.parent}, or have TMPDIR name another folder")) from None
        yield Member(name, "file", 0o644, blob), descriptor


def _fetched(layout: Path, descriptor: Descriptor, place: Path) -> Path:
    """A layer of a shallow base, from its registry. There is one at a time in ``place``."""
    try:
        with open_blob(layout, descriptor) as blob, place.open("wb") as out:
            shutil.copyfileobj(blob, out, _CHUNK)
    except ActionError as error:
        raise ActionError(f"Docker lacks its layer {descriptor.digest}, and so does this machine: {error}") from None
    return place


def _unpacked(blob: Path, place: Path) -> Path:
    with blob.open("rb") as packed, place.open("wb") as out:
        shutil.copyfileobj(decompressed(packed), out, _CHUNK)
    return place


def _archive(members: Iterable[tuple[Member, Descriptor | None]], watch: Watch) -> Iterator[bytes]:
    """A tar archive, in pieces."""
    from enginewright.oci.push import Moved

    for member, layer in members:
        if isinstance(member.source, bytes):
            size = len(member.source)
            yield header(member, size, 0) + member.source + bytes(-size % 512)
            continue
        assert layer is not None
        size, done = member.source.stat().st_size, 0
        unpacked = replace(layer, size=size)  # as it goes to Docker
        yield header(member, size, 0)
        with member.source.open("rb", buffering=0) as file:
            while piece := file.read(_CHUNK):
                yield piece
                done += len(piece)
                watch(Moved(unpacked, done))
        yield bytes(-size % 512)
        watch(Moved(unpacked, size, "sent"))
    yield bytes(1024)
