"""What an image layout says of itself, for statements about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from enginewright.attest.statement import Resource, resource
from enginewright.errors import ActionError
from enginewright.oci.layout import Image, blob_path, read_images
from enginewright.oci.media import BASE_DIGEST, BASE_NAME


def bases(layout: Path) -> Iterator[Resource]:
    """The images that those of a layout are built upon, as far as their manifests name them."""
    for image in read_images(layout):
        annotations = image.manifest.get("annotations", {})
        digest = str(annotations.get(BASE_DIGEST, ""))
        if digest.startswith("sha256:"):
            yield resource(str(annotations.get(BASE_NAME, "")) or "base image", digest.removeprefix("sha256:"))


def created(layout: Path) -> str:
    """When an image says that it was made: what SOURCE_DATE_EPOCH said, so the same in every build."""
    return str(read_images(layout)[0].config.get("created") or "1970-01-01T00:00:00Z")


def whole(layout: Path) -> Image:
    """The one image of a layout, all of whose layers are there. Raises ActionError for one that is shallow, and for an index."""
    images = read_images(layout)
    if len(images) != 1:
        raise ActionError(f"the image is an index of {len(images)}: name one of them")
    (image,) = images
    absent = [layer.digest for layer in image.layers if not blob_path(layout, layer.digest).exists()]
    if absent:
        raise ActionError(
            f"{len(absent)} of the image's {len(image.layers)} layers are nowhere but in the registry of its base, {image.source}: what"
            " is in them cannot be told. Declare its oci_base() with shallow=False"
        )
    return image
