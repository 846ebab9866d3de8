"""Two images compared: the blobs that one has beyond the other, the files that differ, and what their configurations say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from enginewright.oci.layout import Descriptor, Image
from enginewright.oci.listing import MARKS, Entry


class Change(NamedTuple):
    """A path that differs. ``before`` and ``after`` are what each image has there, and the number of the layer that it is in; or None.

    That may also be a mark by which a layer deletes what the layers below it, which both images have, show there.
    """

    path: str
    before: tuple[Entry, int] | None
    after: tuple[Entry, int] | None

    @property
    def kind(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        old, new = (_presence(side) for side in (self.before, self.after))
        return "added" if old < new else "removed" if new < old else "changed"


def _presence(side: tuple[Entry, int] | None) -> int:
    """From what is deleted, over what these layers say nothing of, to what is there."""
    return 0 if side is None else -1 if side[0].kind in MARKS else 1


class LayerChange(NamedTuple):
    """A layer of one image or of both, by its number in each. ``kind`` is ``same``, ``removed``, ``added``, or ``repacked``: what is in it
    is the same, and its blob is another."""

    kind: str
    before: int | None
    after: int | None


def layer_changes(before: Image, after: Image) -> list[LayerChange]:
    """What became of the layers of ``before``, and those of ``after`` that are new; in the order of the images."""
    had = {layer.digest: number for number, layer in enumerate(before.layers)}
    content = {diff_id: number for number, diff_id in enumerate(before.diff_ids)}
    found = []
    for number, (layer, diff_id) in enumerate(zip(after.layers, after.diff_ids)):
        if layer.digest in had:
            found.append(LayerChange("same", had[layer.digest], number))
        elif diff_id in content:
            found.append(LayerChange("repacked", content[diff_id], number))
        else:
            found.append(LayerChange("added", None, number))
    kept = {change.before for change in found}
    removed = [LayerChange("removed", number, None) for number in range(len(before.layers)) if number not in kept]
    return removed + found


def to_pull(before: Image, after: Image) -> list[Descriptor]:
    """The blobs of ``after`` that a node which has ``before`` must pull, manifest and configuration among them."""
    has = {blob.digest for blob in blobs(before)}
    return [blob for blob in blobs(after) if blob.digest not in has]


def blobs(image: Image) -> list[Descriptor]:
    """All that an image is of: its manifest, its configuration and its layers, each once."""
    found = [image.descriptor, Descriptor.from_json(image.manifest["config"]), *image.layers]
    return list({blob.digest: blob for blob in found}.values())


def changes(before: Mapping[str, tuple[Entry, int]], after: Mapping[str, tuple[Entry, int]]) -> Iterator[Change]:
    """What differs of what two images show, as `enginewright.oci.listing.merged` tells it, sorted by path."""
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None or new is None or old[0] != new[0]:
            yield Change(path, old, new)


def settings(before: Image, after: Image) -> dict[str, tuple[Any, Any]]:
    """What the configurations and the annotations of the manifests say differently: both values, None for what one does not say."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, old, new in (
        ("", before.config.get("config") or {}, after.config.get("config") or {}),
        ("platform.", before.platform, after.platform),
        ("annotations.", before.manifest.get("annotations") or {}, after.manifest.get("annotations") or {}),
        ("", {"created": before.config.get("created")}, {"created": after.config.get("created")}),
    ):
        found |= {f"{name}{key}": (old.get(key), new.get(key)) for key in sorted({*old, *new}) if old.get(key) != new.get(key)}
    return found
