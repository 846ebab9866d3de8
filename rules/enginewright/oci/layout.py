"""OCI image layouts: an image, or an index of images, as a folder that skopeo, podman, buildah and containerd read.

OCI image-spec, image-layout.md (https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md): ``oci-layout``,
``index.json`` and ``blobs/sha256/DIGEST``. ``index.json`` of the layouts here names one manifest or one index.

A layout may be shallow: blobs of layers may be absent that another registry has. Then the annotation ``org.opencontainers.image.ref.name``
in ``index.json``, of a base, or ``org.opencontainers.image.base.name`` of the manifest, of what is built on one, says which image has them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginewright.errors import ActionError
from enginewright.oci.media import BASE_NAME, CONFIG, CONFIGS, INDEX, INDEXES, LAYERS, MANIFEST, MANIFESTS, REF_NAME

_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_PLATFORM = ("architecture", "os", "os.version", "os.features", "variant")
"""What a configuration has of the platform of its image (config.md, "Properties"); an index says the same."""


def check_digest(text: object) -> str:
    """Return a digest. Raises ValueError for what is not ``sha256:`` and 64 hexadecimal digits: it becomes a file's name."""
    if not isinstance(text, str) or not _SHA256.fullmatch(text):
        raise ValueError(f"{text!r} is not a SHA-256 digest")
    return text


@dataclass(frozen=True)
class Descriptor:
    """What a blob is, its digest and its size in bytes (descriptor.md, "Properties"). Raises ValueError as `check_digest`."""

    media_type: str
    digest: str
    size: int

    def __post_init__(self) -> None:
        check_digest(self.digest)

    def to_json(self) -> dict[str, Any]:
        """The descriptor as a JSON object."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Descriptor:
        """Read a JSON object; properties other than these three are ignored. Raises ValueError and KeyError for what is no descriptor."""
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r} is no descriptor of a blob")
        media_type, digest, size = value["mediaType"], value["digest"], value["size"]
        if not isinstance(media_type, str):
            raise ValueError(f"{media_type!r} is no media type")
        if type(size) is not int or not 0 <= size < 1 << 63:
            raise ValueError(f"{size!r} is no size of a blob")
        return cls(media_type, digest, size)


@dataclass(frozen=True)
class Image:
    """One image: the descriptor of its manifest, what the index says beside that, its manifest and its configuration."""

    descriptor: Descriptor
    entry: Mapping[str, Any]
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def layers(self) -> list[Descriptor]:
        """The descriptors of its layers, the lowest first."""
        return [Descriptor.from_json(each) for each in self.manifest["layers"]]

    @property
    def diff_ids(self) -> list[str]:
        """The diff_ids of its layers."""
        return list(self.config["rootfs"]["diff_ids"])

    @property
    def made_by(self) -> list[str]:
        """What made each layer, as its history says: the label of a target here, a command elsewhere; empty where it does not tell."""
        told = [str(each.get("created_by") or "") for each in self.config.get("history") or () if not each.get("empty_layer")]
        return told if len(told) == len(self.diff_ids) else [""] * len(self.diff_ids)

    @property
    def platform(self) -> dict[str, Any]:
        """The platform it is for, as an index has it."""
        return {name: self.config[name] for name in _PLATFORM if name in self.config}

    @property
    def source(self) -> str:
        """The reference of an image in a registry that has the layers which are absent here; empty when nothing says so."""
        named = str((self.entry.get("annotations") or {}).get(REF_NAME, ""))
        return named if "/" in named else str((self.manifest.get("annotations") or {}).get(BASE_NAME, ""))


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no whitespace, so that equal values have equal digests (considerations.md, "Canonicalization")."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def read_json(data: bytes) -> dict[str, Any]:
    """A JSON object that somebody else may have written. Raises ValueError for anything else."""
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def blob_path(folder: Path, digest: str) -> Path:
    """Where a layout has the blob of a digest, or would have it."""
    return folder / "blobs" / "sha256" / check_digest(digest).removeprefix("sha256:")


def write_image(
    folder: Path, config: Mapping[str, Any], layers: Sequence[tuple[Mapping[str, Any], Path | None]], annotations: Mapping[str, str]
) -> Descriptor:
    """Make ``folder``, a layout with one image, and return the descriptor of its manifest.

    ``config`` is the image configuration (config.md), with ``rootfs.diff_ids`` in the order of ``layers``; each layer is its
    descriptor as JSON and its blob, None where it is absent, the lowest first. Blobs are not copied: the layout has symbolic links to
    them, and whoever keeps it puts the files in their place, as the sandbox does with links to inputs. ``annotations`` are the
    manifest's. Raises ActionError for a blob that has not the size its descriptor says.
    """
    blobs = _start(folder)
    for descriptor, blob in layers:
        if blob is not None:
            _link_blob(blobs, Descriptor.from_json(descriptor), blob)
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _write_blob(blobs, CONFIG, config).to_json(),
        "layers": [dict(descriptor) for descriptor, _ in layers],
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    described = _write_blob(blobs, MANIFEST, manifest)
    _finish(folder, {**described.to_json(), "platform": {name: config[name] for name in _PLATFORM if name in config}})
    return described


def write_index(folder: Path, layouts: Sequence[Path], annotations: Mapping[str, str]) -> Descriptor:
    """Make ``folder``, a layout with one index of the images in ``layouts``, and return the descriptor of the index.

    Of each image the index has its platform, and the annotations of its manifest. ``annotations`` are the index's. Raises ActionError
    where two images are for one platform and have the same annotations, so that nothing could choose between them.
    """
    blobs = _start(folder)
    entries: list[dict[str, Any]] = []
    for layout in layouts:
        image = read_image(layout)
        for descriptor in (image.descriptor, Descriptor.from_json(image.manifest["config"])):
            _link_blob(blobs, descriptor, blob_path(layout, descriptor.digest))
        for descriptor in image.layers:
            if (blob := blob_path(layout, descriptor.digest)).exists():
                _link_blob(blobs, descriptor, blob)
        entry = {**image.descriptor.to_json(), "platform": image.platform}
        if image.manifest.get("annotations"):
            entry["annotations"] = image.manifest["annotations"]
        if any((entry["platform"], entry.get("annotations")) == (each["platform"], each.get("annotations")) for each in entries):
            platform = "/".join(str(entry["platform"][name]) for name in ("os", "architecture", "variant") if name in entry["platform"])
            raise ActionError(f"two images are for {platform}, and have the same annotations: nothing could choose between them")
        entries.append(entry)
    index: dict[str, Any] = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    if annotations:
        index["annotations"] = dict(annotations)
    described = _write_blob(blobs, INDEX, index)
    _finish(folder, described.to_json())
    return described


def _start(folder: Path) -> Path:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    return blobs


def _finish(folder: Path, entry: Mapping[str, Any]) -> None:
    (folder / "index.json").write_bytes(canonical_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}))
    (folder / "oci-layout").write_bytes(canonical_json({"imageLayoutVersion": "1.0.0"}))


def _write_blob(blobs: Path, media_type: str, value: object) -> Descriptor:
    data = canonical_json(value)
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return Descriptor(media_type, f"sha256:{digest}", len(data))


def _link_blob(blobs: Path, descriptor: Descriptor, blob: Path) -> None:
    size = blob.stat().st_size
    if size != descriptor.size:
        raise ActionError(f"{blob.name} has {size} bytes, but its descriptor says {descriptor.size}: build it again")
    placed = blobs / descriptor.digest.removeprefix("sha256:")
    # Layers with different labels may still be the same bytes.
    if not placed.is_symlink():
        placed.symlink_to(blob.resolve())


def read_image(folder: Path) -> Image:
    """The one image in a layout. Raises ActionError as `read_images`, and for a layout of an index."""
    images = read_images(folder)
    if len(images) != 1:
        raise ActionError(f"{folder} holds an index of {len(images)} images, where one image is expected: name one of them")
    return images[0]


def read_images(folder: Path) -> list[Image]:
    """The images in a layout: one, or those of its index.

    Raises ActionError for a folder that is no such layout, for a manifest or a configuration that has not the size or the digest its
    descriptor says, and for media types of other things than images.
    """
    try:
        top = read_json((folder / "index.json").read_bytes())["manifests"]
        if len(top) == 1 and top[0]["mediaType"] in INDEXES:
            top = _read_blob(folder, Descriptor.from_json(top[0]))["manifests"]
        if not top:
            raise ValueError("its index is empty")
        return [parse_image(entry, lambda blob: _read_blob(folder, blob)) for entry in top]
    except OSError as error:
        raise ActionError(f"{folder} is not the layout of an image ({error.strerror}: {error.filename})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ActionError(f"{folder} is not the layout of an image ({reason})") from None


def parse_image(entry: Mapping[str, Any], read: Callable[[Descriptor], dict[str, Any]]) -> Image:
    """The image whose manifest an entry of an index describes; ``read`` gets that, and its configuration.

    Raises ValueError, KeyError or TypeError for what is no image, or has layers that cannot be passed on.
    """
    descriptor = Descriptor.from_json(entry)
    if descriptor.media_type not in MANIFESTS:
        raise ValueError(f"{descriptor.digest} is a {descriptor.media_type}, not the manifest of an image")
    manifest = read(descriptor)
    described = Descriptor.from_json(manifest["config"])
    if described.media_type not in CONFIGS:
        raise ValueError(f"its configuration is a {described.media_type}, not that of an image")
    image = Image(descriptor, entry, manifest, read(described))
    for layer in image.layers:
        if layer.media_type not in LAYERS:
            raise ValueError(f"its layer {layer.digest} is a {layer.media_type}, which is no layer that can be passed on")
    if len(image.layers) != len(image.diff_ids) or not isinstance(image.platform["os"], str):
        raise ValueError(f"its manifest has {len(image.layers)} layers, its configuration {len(image.diff_ids)}")
    for diff_id in image.diff_ids:
        check_digest(diff_id)
    _check_words(image)
    return image


def _check_words(image: Image) -> None:
    """Raise ValueError where what others say about an image is not of the shape that the specification gives it."""
    config, history = image.config.get("config") or {}, image.config.get("history")
    _check_shape("annotations", image.entry.get("annotations"), dict)
    _check_shape("annotations", image.manifest.get("annotations"), dict)
    _check_shape("config", config, dict)
    _check_shape("history", history, list)
    if not all(isinstance(each, dict) for each in history or ()):
        raise ValueError("its history has entries that are no objects of JSON")
    for name in ("Labels", "ExposedPorts"):
        _check_shape(name, config.get(name), dict)
    for name in ("Env", "Entrypoint", "Cmd"):
        _check_shape(name, config.get(name), list)
        if not all(isinstance(each, str) for each in config.get(name) or ()):
            raise ValueError("its Env, Entrypoint or Cmd has entries that are no text")


def _check_shape(what: str, value: Any, shape: type) -> None:
    if value is not None and not isinstance(value, shape):
        raise ValueError(f"its {what}: {repr(value)[:80]} is no {'object' if shape is dict else 'list'} of JSON")


def _read_blob(folder: Path, descriptor: Descriptor) -> dict[str, Any]:
    content = blob_path(folder, descriptor.digest).read_bytes()
    if len(content) != descriptor.size:
        raise ValueError(f"{descriptor.digest} has {len(content)} bytes, and should have {descriptor.size}")
    found = hashlib.sha256(content).hexdigest()
    if f"sha256:{found}" != descriptor.digest:
        raise ValueError(f"{descriptor.digest} has the digest sha256:{found}: it was changed")
    return read_json(content)
