"""OCI image layouts: configuration, manifest and layers, the layers entry by entry."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from enginewright.compare.archives import compare_archives
from enginewright.compare.content import document_differences
from enginewright.compare.verdict import NONE, Comparison, Finding, differing, within
from enginewright.errors import ActionError
from enginewright.oci.layout import Image, blob_path, read_images


def compare_layouts(first: Path, second: Path) -> Comparison:
    """Compare two image layouts, whose images are paired in their order. Raises ValueError where one of them is none."""
    try:
        one, other = read_images(first), read_images(second)
    except ActionError as error:
        raise ValueError(str(error)) from None
    findings: list[Finding] = []
    for number, (a, b) in enumerate(zip_longest(one, other)):
        where = f"image {number}" if max(len(one), len(other)) > 1 else "image"
        if a is None or b is None:
            findings.append(Finding(where, "is only in the first" if a else "is only in the second"))
        elif a.descriptor != b.descriptor:
            findings.append(Finding(where, f"{a.descriptor.digest} -> {b.descriptor.digest}"))
            findings += within(where, _image(first, a, second, b))
    return differing(NONE, findings)


def _image(first: Path, one: Image, second: Path, other: Image) -> Iterator[Finding]:
    yield from within("configuration", document_differences(one.config, other.config))
    yield from within("manifest", document_differences(_rest(one), _rest(other)))
    for number, (a, b) in enumerate(zip_longest(one.layers, other.layers)):
        where = f"layer {number}"
        if a is None or b is None:
            yield Finding(where, "is only in the first" if a else "is only in the second")
        elif a.digest != b.digest:
            paths = blob_path(first, a.digest), blob_path(second, b.digest)
            if not all(path.exists() for path in paths):
                yield Finding(where, f"{a.digest} -> {b.digest}, which is not here")
                continue
            compared = compare_archives(*paths)
            yield from within(where, compared.findings)
            if compared.basis:
                yield Finding(where, compared.basis)


def _rest(image: Image) -> dict[str, object]:
    """A manifest without what names the configuration and the layers, which are compared themselves."""
    return {name: value for name, value in image.manifest.items() if name not in ("config", "layers")}
