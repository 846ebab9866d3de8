"""oci_base(): an image from elsewhere, to build others on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from enginewright.graph.action import NETWORK_VARIABLES, Action
from enginewright.graph.attributes import AttributeProblem, Source
from enginewright.graph.rule import Context, Rule, declaration

_LOGINS = ("PATH", "DOCKER_CONFIG", "XDG_RUNTIME_DIR")
"""Where logins are, and the programs that keep them."""

_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?")


@dataclass(frozen=True, kw_only=True)
class OciBase(Rule):
    """An image for ``platform`` from a registry (``image``), from an image layout, or from an archive of `docker save`; one of these.

    ``image`` is a reference with a digest, as ``"debian:bookworm-slim@sha256:..."``, of an image or of an index of several. With a tag
    alone the build stops, and says which digest to write. Of the image, manifest and configuration are fetched. Its layers stay where they
    are until something needs their bytes, unless ``shallow`` is False: then they are fetched too, and what is built on it can be used
    without the registry. Logins are those of `docker login`. ``plain_http`` allows a registry on another machine that has no TLS.

    ``layout`` are the files of an image layout in the package, as ``glob("debian/**")``, and ``archive`` is a file that `docker save` or
    `skopeo copy` to ``oci-archive:`` wrote. ``digest`` pins them: it is that of the manifest or index in the layout, or the image ID.
    """

    kind: ClassVar[str] = "oci_base"
    provides: ClassVar[Mapping[str, str]] = {"base": ""}

    image: str | None = None
    layout: tuple[Annotated[str, Source()], ...] = ()
    archive: Annotated[str, Source()] | None = None
    digest: str | None = None
    platform: str = "linux/amd64"
    shallow: bool = True
    plain_http: bool = False

    def check(self) -> None:
        from enginewright.oci.layout import check_digest
        from enginewright.oci.registry.reference import Reference

        given = [name for name in ("image", "layout", "archive") if getattr(self, name)]
        if len(given) != 1:
            what = f"gives {' and '.join(given)}" if given else "gives none"
            raise AttributeProblem("", f"{what}: one of image, layout and archive says where the image is from")
        if self.image is not None:
            try:
                Reference.parse(self.image)
            except ValueError as error:
                raise AttributeProblem("image", str(error)) from None
            if self.digest is not None:
                raise AttributeProblem("digest", "pins a layout or an archive: of an image it is part of the reference, after an @")
        else:
            for name in ("plain_http", "shallow"):
                if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                    raise AttributeProblem(name, "is of images from a registry: leave it out")
        if self.layout:
            self._layout_folder()
        if self.digest is not None:
            try:
                check_digest(self.digest)
            except ValueError as error:
                raise AttributeProblem("digest", str(error)) from None
        if not _PLATFORM.fullmatch(self.platform):
            raise AttributeProblem("platform", f"{self.platform!r} is no platform: write it as 'linux/amd64' or 'linux/arm/v7'")

    def action(self, context: Context) -> Action:
        outputs = {"base": context.output("", tree=True)}
        if self.image is not None:
            return Action(
                mnemonic="OciBase",
                run="enginewright.rules.oci_base:fetch",
                inputs={},
                outputs=outputs,
                params={"image": self.image, "platform": self.platform, "shallow": self.shallow, "plain_http": self.plain_http},
                packages=("docker", "urllib3"),
                requires={"network": "yes"},
                environment=(*NETWORK_VARIABLES, *_LOGINS),
            )
        params = {"platform": self.platform, "digest": self.digest}
        if self.archive is not None:
            return Action("OciBase", "enginewright.rules.oci_base:unpack", {"archive": context.source(self.archive)}, outputs, params)
        folder = self._layout_folder()
        inputs = {path.removeprefix(folder): context.source(path) for path in self.layout}
        return Action("OciBase", "enginewright.rules.oci_base:take_in", inputs, outputs, params)

    def _layout_folder(self) -> str:
        """The folder of the layout's files, with a closing slash, or empty."""
        indexes = sorted((path for path in self.layout if path.rpartition("/")[2] == "index.json"), key=len)
        folder = indexes[0].removesuffix("index.json") if indexes else ""
        stray = [path for path in self.layout if not path.startswith(folder)]
        if not indexes or stray:
            what = f"{stray[0]} is outside {folder}" if stray else "there is no index.json"
            raise AttributeProblem("layout", f"is not that of an image layout: {what}; write it as glob('debian/**')")
        return folder


oci_base = declaration(OciBase)


def fetch(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Fetch from a registry. Raises ActionError as `from_registry` does."""
    from enginewright.oci.base import from_registry
    from enginewright.oci.registry.client import Client
    from enginewright.oci.registry.reference import Reference
    from enginewright.oci.registry.transport import Access

    client = Client(Access(params["plain_http"]), notice=print)
    from_registry(client, Reference.parse(params["image"]), params["platform"], outputs["base"], params["shallow"])


def take_in(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Take in an image layout. Raises ActionError as `from_layout` does."""
    from enginewright.oci.base import from_layout

    from_layout(inputs["index.json"].parent, params["platform"], outputs["base"], params["digest"] or "")


def unpack(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Take in an archive. Raises ActionError as `from_archive` does."""
    from enginewright.oci.base import from_archive

    from_archive(inputs["archive"], params["platform"], outputs["base"], params["digest"] or "")
