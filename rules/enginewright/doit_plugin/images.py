"""Images as they are named on a command line: by a label, by the folder of a layout, or by a reference to a registry."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.options import option
from enginewright.doit_plugin.session import open_build, select
from enginewright.doit_plugin.transfers import OPT_CA, OPT_PLAIN_HTTP, read_ca
from enginewright.errors import ActionError, with_article
from enginewright.oci.blobs import open_blob
from enginewright.oci.contents import is_for
from enginewright.oci.layer import Layer
from enginewright.oci.layout import Descriptor, Image, blob_path, parse_image, read_images, read_json
from enginewright.oci.listing import Listing, list_layer
from enginewright.workspace.packages import BUILD_FILE

if TYPE_CHECKING:
    from enginewright.oci.registry.client import Client

OPT_PLATFORM = option("platform", "linux/amd64", "which image of an index is meant [default: %(default)s]")
REGISTRY_OPTIONS = (OPT_PLATFORM, OPT_PLAIN_HTTP, OPT_CA)


class Opened(NamedTuple):
    """An image that can be read. ``where`` names its layout or repository; ``elsewhere`` the image in a registry that has what is not
    here, if one is known; ``here`` says whether a blob is on this machine."""

    image: Image
    where: str
    elsewhere: str
    here: Callable[[Descriptor], bool]
    stream: Callable[[Descriptor], io.RawIOBase]

    @property
    def layers(self) -> list[Layer]:
        """Its layers, the lowest first."""
        return [Layer(descriptor, diff_id) for descriptor, diff_id in zip(self.image.layers, self.image.diff_ids)]

    def list(self, layer: Layer) -> Listing:
        """What is in a layer. Raises ActionError where that cannot be had, or is not what its digest says."""
        with self.stream(layer.descriptor) as stream:
            return list_layer(stream, layer, f"{self.where}: layer {layer.descriptor.digest}")


def is_layout(text: str) -> bool:
    """Whether a text names a folder with an image layout."""
    return Path(text, "index.json").is_file()


def is_reference(text: str) -> bool:
    """Whether a text names an image in a registry: it begins with a host, as ``ghcr.io/`` and ``127.0.0.1:5000/`` do.

    A file or a folder that is there is meant before a host of its name, and so is a label of a package that is there.
    """
    host, slash, _ = text.partition("/")
    a_host = bool(slash) and (host == "localhost" or "." in host.strip(".") or ":" in host)
    return a_host and not Path(text).exists() and not is_label(text)


def is_label(text: str) -> bool:
    """Whether a text names a target of a package that is there."""
    package, colon, _ = text.removeprefix("//").rpartition(":")
    return bool(colon) and Path(package, BUILD_FILE).exists()


def open_layout(layout: Path, params: Mapping[str, Any]) -> list[Opened]:
    """The images of a layout. Raises ActionError for what is none."""

    def stream(blob: Descriptor) -> io.RawIOBase:
        # Without one, a client is made only where it is needed.
        return open_blob(layout, blob, None if blob_path(layout, blob.digest).exists() else _client(params))

    def here(blob: Descriptor) -> bool:
        return blob_path(layout, blob.digest).exists()

    return [Opened(image, str(layout), image.source, here, stream) for image in read_images(layout)]


def open_reference(text: str, params: Mapping[str, Any]) -> Opened:
    """An image in a registry, for the platform that the options say. Raises ActionError, and doit's InvalidCommand for no reference."""
    from enginewright.oci.pull import resolve
    from enginewright.oci.registry.reference import Reference

    try:
        reference = Reference.parse(text)
    except ValueError as error:
        raise InvalidCommand(str(error)) from None
    repository = _client(params).repository(reference)
    found = resolve(repository, reference, params["platform"])

    def read(blob: Descriptor) -> dict[str, Any]:
        return dict(found.read() if blob == found.descriptor else read_json(repository.read_blob(blob)))

    try:
        image = parse_image(found.descriptor.to_json(), read)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ActionError(f"{text} is not an image ({error})") from None
    return Opened(image, str(reference), str(reference), lambda blob: False, repository.open_blob)


def open_one(text: str, params: Mapping[str, Any]) -> Opened:
    """The one image that a text names. Raises ActionError, and doit's InvalidCommand for what is no image, or several."""
    if is_layout(text):
        found = open_layout(Path(text), params)
    elif is_reference(text):
        found = [open_reference(text, params)]
    else:
        found = open_layout(_layout_of(text), params)
    meant = [each for each in found if is_for(each.image.platform, params["platform"])] if len(found) > 1 else found
    if len(meant) != 1:
        what = f"{len(meant)} of them for {params['platform']}: name one" if meant else f"none of them for {params['platform']}"
        raise InvalidCommand(f"{text} is an index of {len(found)} images, {what}")
    return meant[0]


def _client(params: Mapping[str, Any]) -> Client:
    from enginewright.oci.registry.client import Client
    from enginewright.oci.registry.transport import Access

    return Client(Access(params["plain_http"], read_ca(params)))


def _layout_of(text: str) -> Path:
    """The layout that a target makes, which must be there."""
    if ":" not in text:
        raise InvalidCommand(f"{text}: there is no image layout there; a label has a colon, as images/minilm:image")
    build = open_build(Path.cwd(), look_only=True)
    (label,) = select(build, [text])
    action = build.graph.targets[label].action
    found = [action.outputs[name] for name in ("layout", "base") if name in action.outputs] if action else []
    if not found:
        raise InvalidCommand(f"{label} is {with_article(build.graph.targets[label].kind)}, which makes no image")
    if not (path := Path(found[0].path)).exists():
        raise InvalidCommand(f"{path} does not exist: doit build {label}")
    return path
