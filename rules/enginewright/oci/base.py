"""Taking in an image from elsewhere, byte for byte, as the layout of one image that others are built on.

It comes from a registry, from another layout, or from an archive of `docker save` or an OCI archive. Of a registry, layers need not be
fetched: the layout is shallow then, and names the image that has them (`enginewright.oci.blobs`).
"""

from __future__ import annotations

import hashlib
import json
import lzma
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from enginewright.errors import ActionError
from enginewright.oci import parallel
from enginewright.oci.contents import Manifest, choose_platform
from enginewright.oci.layout import Descriptor, blob_path, canonical_json, check_digest, read_image, read_json
from enginewright.oci.media import CONFIG, INDEX, INDEXES, LAYER, MANIFEST, MANIFESTS, REF_NAME

if TYPE_CHECKING:
    from enginewright.oci.registry.client import Client
    from enginewright.oci.registry.reference import Reference

_CHUNK = 1 << 20


def from_registry(client: Client, reference: Reference, platform: str, folder: Path, shallow: bool) -> None:
    """Make ``folder`` the layout of an image of a registry, of an index that for ``platform``; ``shallow``: without its layers.

    Raises ActionError for a reference without a digest, with the one to write; for what is not the image that the digest or the platform
    is of; and RegistryError.
    """
    repository = client.repository(reference)
    if not reference.digest:
        found = repository.head_manifest(reference.selector)
        if found is None:
            raise ActionError(f"{reference}: {reference.registry} has no such image, and there is no digest to find it by")
        pinned = f"{reference}{'' if reference.tag else ':latest'}@{found.digest}"
        raise ActionError(f"{reference} can be another image tomorrow: pin the one that it is now, with image={pinned!r}")
    manifest = Manifest(*repository.get_manifest(reference.digest))
    manifest = _choose(manifest, platform, str(reference), lambda wanted: repository.get_manifest(wanted.digest)[1])
    value = _image_manifest(manifest, str(reference))
    _start(folder)
    config = Descriptor.from_json(value["config"])
    blob_path(folder, config.digest).write_bytes(repository.read_blob(config))
    if not shallow:
        from enginewright.oci.push import JOBS

        def fetch(layer: Descriptor) -> None:
            with repository.open_blob(layer) as stream, blob_path(folder, layer.digest).open("xb") as file:
                while data := stream.read(_CHUNK):
                    file.write(data)

        layers = {layer.digest: layer for layer in map(Descriptor.from_json, value["layers"])}  # one blob may be several
        parallel.each(fetch, sorted(layers.values(), key=lambda layer: -layer.size), JOBS, client.cancelled)
    _finish(folder, manifest, platform, str(reference), source=str(reference.at(manifest.descriptor.digest)))


def from_layout(layout: Path, platform: str, folder: Path, digest: str) -> None:
    """Make ``folder`` the layout of the image for ``platform`` in another layout, linked to its blobs, which are all checked.

    ``digest`` is that of its manifest or index, if it is given. A layout that is shallow gives one that is. Raises ActionError.
    """

    def read(wanted: Descriptor) -> bytes:
        try:
            data = blob_path(layout, wanted.digest).read_bytes()
        except OSError as error:
            raise ActionError(f"{layout.name} lacks {wanted.digest}: {error.strerror}") from None
        _check(wanted, len(data), hashlib.sha256(data).hexdigest(), layout.name)
        return data

    root, named = _top(_json((layout / "index.json").read_bytes(), f"{layout.name}/index.json"), platform, layout.name, digest)
    _expect(digest, root.digest, layout.name)
    manifest = _choose(Manifest(root, read(root)), platform, layout.name, read)
    value = _image_manifest(manifest, layout.name)
    source = named if "/" in named else ""
    _start(folder)
    for blob in map(Descriptor.from_json, (value["config"], *value["layers"])):
        path = blob_path(layout, blob.digest)
        if path.exists():
            with path.open("rb") as file:
                _check(blob, *_digest(file), layout.name)
            placed = blob_path(folder, blob.digest)
            if not placed.is_symlink():
                placed.symlink_to(path.resolve())
        elif not source or blob.digest == value["config"]["digest"]:
            raise ActionError(f"{layout.name} lacks the blob {blob.digest}: it was not copied whole")
    _finish(folder, manifest, platform, layout.name, source)


def from_archive(archive: Path, platform: str, folder: Path, digest: str) -> None:
    """Make ``folder`` the layout of the image in an archive of `docker save`, or in a tar archive of a layout.

    ``digest`` is the image ID, which is the digest of its configuration, if it is given. Raises ActionError.
    """
    try:
        with tarfile.open(archive) as tar:
            members = {member.name.removeprefix("./"): member for member in tar.getmembers()}
            _start(folder)
            if "index.json" in members and "oci-layout" in members:
                manifest = _from_oci_archive(tar, members, platform, folder, archive.name)
            elif "manifest.json" in members:
                manifest = _from_docker_archive(tar, members, folder, archive.name)
            else:
                raise ActionError(f"{archive.name} has neither an index.json nor a manifest.json: it is no archive of an image")
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's trouble, not the archive's
            raise
        reason = str(error).partition(":\n")[0]
        raise ActionError(f"{archive.name} cannot be read as a tar archive, or ends too early: {reason}") from None
    _expect(digest, str(_json(manifest.data, archive.name)["config"]["digest"]), archive.name)
    _finish(folder, manifest, platform, archive.name, "")


def _from_oci_archive(tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], platform: str, folder: Path, where: str) -> Manifest:
    def read(wanted: Descriptor) -> bytes:
        data = _member(tar, members, _blob_name(wanted.digest), where).read()
        _check(wanted, len(data), hashlib.sha256(data).hexdigest(), where)
        return data

    root, _ = _top(_json(_member(tar, members, "index.json", where).read(), f"index.json in {where}"), platform, where)
    manifest = _choose(Manifest(root, read(root)), platform, where, read)
    value = _image_manifest(manifest, where)
    for blob in map(Descriptor.from_json, (value["config"], *value["layers"])):
        with blob_path(folder, blob.digest).open("wb") as file:
            _check(blob, *_digest(_member(tar, members, _blob_name(blob.digest), where), file), where)
    return manifest


def _from_docker_archive(tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], folder: Path, where: str) -> Manifest:
    """The manifest of the one image in an archive of `docker save` (Docker image specification 1.2, "Combined Image JSON + Filesystem
    Changeset Format"), which has none: one is made for its configuration, which is taken as it is, and its layers."""
    try:
        listed = json.loads(_member(tar, members, "manifest.json", where).read())  # a list
        if not isinstance(listed, list) or not listed:
            raise ValueError("it lists no image")
        if len(listed) > 1:
            tags = ", ".join(str((each.get("RepoTags") or ["an image without a name"])[0]) for each in listed)
            raise ActionError(f"{where} holds {len(listed)} images ({tags}): save the one that is meant")
        config = _member(tar, members, listed[0]["Config"], where).read()
        diff_ids = [check_digest(each) for each in read_json(config)["rootfs"]["diff_ids"]]
        names = list(listed[0]["Layers"])
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"its layers are {names!r}, which are no names of files")
        if len(names) != len(diff_ids):
            raise ValueError(f"it has {len(names)} layers, and its configuration {len(diff_ids)}")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ActionError(f"manifest.json in {where} is not one of `docker save`: {error}") from None
    layers = []
    for name, diff_id in zip(names, diff_ids):
        with blob_path(folder, diff_id).open("wb") as file:
            size, found = _digest(_member(tar, members, name, where), file)
        if f"sha256:{found}" != diff_id:
            raise ActionError(f"{where}: the layer {name} has the digest sha256:{found}, and should have {diff_id}: it was changed")
        layers.append(Descriptor(LAYER, diff_id, size))
    described = Descriptor(CONFIG, f"sha256:{hashlib.sha256(config).hexdigest()}", len(config))
    blob_path(folder, described.digest).write_bytes(config)
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described.to_json(), "layers": [layer.to_json() for layer in layers]}
    data = canonical_json(value)
    return Manifest(Descriptor(MANIFEST, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data)), data)


def _choose(manifest: Manifest, platform: str, where: str, read: Any) -> Manifest:
    """An image's manifest, or of an index the one for ``platform``."""
    if manifest.descriptor.media_type not in INDEXES:
        return manifest
    try:
        chosen = choose_platform(manifest.read(), platform)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ActionError(f"{where}: {error}") from None
    return Manifest(chosen, read(chosen))


def _top(index: Mapping[str, Any], platform: str, where: str, digest: str = "") -> tuple[Descriptor, str]:
    """What a layout's index.json names: that of ``digest``, only that, or that for ``platform``; and by which name."""
    try:
        entries = index["manifests"]
        roots = {each.digest: each for each in map(Descriptor.from_json, entries)}  # one may be there under several names
        if digest not in roots and len(roots) > 1 and not any("platform" in each for each in entries):
            raise ValueError(f"it names {len(roots)}: say which with digest={next(iter(roots))!r} or another of them")
        only = next(iter(roots.values())) if len(roots) == 1 else None
        root = roots.get(digest) or only or choose_platform(index, platform)
        entry = next(each for each in entries if each["digest"] == root.digest)
        return root, str((entry.get("annotations") or {}).get(REF_NAME, ""))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ActionError(f"{where}: its index.json names no one image: {reason}") from None


def _image_manifest(manifest: Manifest, where: str) -> dict[str, Any]:
    kind = manifest.descriptor.media_type
    try:
        if kind not in MANIFESTS:
            raise ValueError(f"it is of an unknown type, {kind!r}; manifests of OCI images, and of Docker's version 2, are known")
        value = manifest.read()
        for each in (value["config"], *value["layers"]):
            Descriptor.from_json(each)
        return value
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise ActionError(f"{where}: the manifest {manifest.descriptor.digest} is not that of an image: {reason}") from None


def _start(folder: Path) -> None:
    (folder / "blobs" / "sha256").mkdir(parents=True)


def _finish(folder: Path, manifest: Manifest, platform: str, where: str, source: str) -> None:
    """Write what makes the folder a layout, and check all of it as its users will."""
    blob_path(folder, manifest.descriptor.digest).write_bytes(manifest.data)
    entry: dict[str, Any] = manifest.descriptor.to_json()
    if source:
        entry["annotations"] = {REF_NAME: source}
    (folder / "index.json").write_bytes(canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}))
    (folder / "oci-layout").write_bytes(canonical_json({"imageLayoutVersion": "1.0.0"}))
    try:
        found = read_image(folder).platform
    except ActionError as error:
        raise ActionError(str(error).replace(str(folder), where)) from None
    wanted = platform.split("/")
    if [found.get(name, "") for name in ("os", "architecture", "variant")][: len(wanted)] != wanted:
        raise ActionError(f"{where} is an image for {found.get('os')}/{found.get('architecture')}, and not for {platform}")


def _digest(source: IO[bytes], copy: IO[bytes] | None = None) -> tuple[int, str]:
    """The size and the SHA-256 of a stream, which is copied on the way."""
    sha256, size = hashlib.sha256(), 0
    while data := source.read(_CHUNK):
        sha256.update(data)
        size += len(data)
        if copy is not None:
            copy.write(data)
    return size, sha256.hexdigest()


def _check(wanted: Descriptor, size: int, found: str, where: str) -> None:
    if size != wanted.size:
        raise ActionError(f"{where}: {wanted.digest} has {size} bytes, and should have {wanted.size}: it was cut off or changed")
    if f"sha256:{found}" != wanted.digest:
        raise ActionError(f"{where}: {wanted.digest} has the digest sha256:{found}: it was changed")


def _expect(digest: str, found: str, where: str) -> None:
    if digest and digest != found:
        raise ActionError(f"{where} has the digest {found}, and is declared with {digest}: it is another image, or it was changed")


def _json(data: bytes, where: str) -> dict[str, Any]:
    try:
        return read_json(data)
    except ValueError as error:
        raise ActionError(f"{where} cannot be read: {error}") from None


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{check_digest(digest).removeprefix('sha256:')}"


def _member(tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], name: str, where: str) -> IO[bytes]:
    try:
        file = tar.extractfile(members[name])
    except (KeyError, RecursionError):  # a link to what is not there, or to itself
        file = None
    if file is None:
        raise ActionError(f"{where} lacks {name}: it was not saved whole")
    return file
