"""The blobs of an image layout, wherever they are: in its folder or, where it is shallow, in the registry that its base came from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from enginewright.errors import ActionError
from enginewright.oci.layout import Descriptor, blob_path, read_images

if TYPE_CHECKING:
    from enginewright.oci.registry.client import Client
    from enginewright.oci.registry.reference import Reference
    from enginewright.oci.registry.streams import Checked


def open_blob(layout: Path, blob: Descriptor, client: Client | None = None) -> Checked:
    """A blob of a layout as a stream (``read``, ``close``), checked by digest and size while it is read.

    It comes from the layout's folder or, if it is not there, from the registry that `sources` names, by ``client`` (default: one with the
    user's logins). Raises ActionError where it is in neither, or is not what its digest says; then and while reading.
    """
    from enginewright.oci.registry.streams import Checked

    path = blob_path(layout, blob.digest)
    with suppress(FileNotFoundError):
        return Checked(path.open("rb"), blob, str(path))
    base = sources(layout).get(blob.digest)
    if base is None:
        raise ActionError(f"{layout} lacks the blob {blob.digest}, and does not say which image it is from: build it again")
    from enginewright.oci.registry.client import Client

    return (client or Client()).repository(base).open_blob(blob)


def sources(layout: Path) -> dict[str, Reference]:
    """For the layers of each image in a layout, by digest, the image whose repository has those that are absent, where one is named.

    Raises ActionError for a layout that is damaged, or holds other things than images.
    """
    from enginewright.oci.registry.reference import Reference

    found: dict[str, Reference] = {}
    for image in read_images(layout):
        with suppress(ValueError):  # it names none, or nothing that can be one
            base = Reference.parse(image.source)
            found |= {layer.digest: base for layer in image.layers}
    return found
