"""debian_base(): a base image of pinned Debian packages, and nothing else."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from enginewright.debian.pins import NAME
from enginewright.graph.action import APT_SOURCES, NETWORK_VARIABLES, Action
from enginewright.graph.attributes import AttributeProblem, Needs, Source
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Lookup, Rule, declaration
from enginewright.oci.layer import write_layer
from enginewright.rules.image import Image
from enginewright.rules.layering import LayerRule

DOCUMENTATION = tuple(f"/usr/share/{folder}/*" for folder in ("doc", "info", "lintian", "locale", "man"))
"""What is left out unless a declaration says otherwise: it explains, or translates. Copyright files stay, whatever is excluded."""


@dataclass(frozen=True, kw_only=True)
class DebianPackages(Rule):
    """The .deb files that ``pins`` name, as files. debian_base() declares it as NAME.debs."""

    kind: ClassVar[str] = "debian_packages"
    provides: ClassVar[Mapping[str, str]] = {"debs": ""}

    suite: str
    packages: tuple[str, ...]
    pins: Annotated[str, Source()]
    omit: tuple[str, ...]
    architecture: str
    essential: bool

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="DebianPackages",
            run="enginewright.debian.fetch:fetch",
            inputs={"pins": context.source(self.pins)},
            outputs={"debs": context.output("", tree=True)},
            params={
                "packages": self.packages,
                "omit": self.omit,
                "architecture": self.architecture,
                "essential": self.essential,
            },
            requires={"network": "yes", "programs": "apt-get", "apt": self.suite},
            environment=(*NETWORK_VARIABLES, APT_SOURCES, "APT_CONFIG"),
        )


@dataclass(frozen=True, kw_only=True)
class DebianLayer(LayerRule):
    """A layer of Debian packages, unpacked, or installed where ``install`` says of which suite and architecture they are.

    debian_base() declares it as NAME.layer.
    """

    kind: ClassVar[str] = "debian_layer"

    debs: Annotated[Label, Needs("debs")]
    exclude: tuple[str, ...]
    install: tuple[str, str] | None

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="DebianLayer",
            run="enginewright.rules.debian_base:write",
            inputs={"debs": context.input(self.debs, "debs")},
            outputs=self.layer_outputs(context),
            params={"exclude": self.exclude, "install": self.install, **self.layer_params(context)},
            packages=("zstandard",),
            requires={"programs": "mmdebstrap fakechroot fakeroot"} if self.install else {},
        )


@dataclass(frozen=True, kw_only=True)
class DebianBase(LayerRule):
    """A base image with ``packages`` of the Debian release ``suite``, as ``"bookworm"``, and what these depend on, for ``architecture``.

    The file ``pins`` says which exactly, each by version and SHA-256: `doit pin LABEL` writes it, from the archives that the machine's apt
    knows. ``omit`` are packages to do without although others depend on them, with what only they depend on. Target NAME.debs fetches the
    packages once, by apt; nothing else needs the network, and nothing needs root.

    Packages are unpacked and not configured, as for images without a shell: no maintainer script runs, so the same packages are the same
    image. Users, name resolution and the bundle of CA certificates are made. With ``install``, mmdebstrap installs them, and what Debian
    calls essential, as on any Debian: maintainer scripts run. It takes the programs mmdebstrap, fakechroot and fakeroot.

    Files are left out whose paths match a pattern of ``exclude``, in which ``*`` matches ``/`` too; documentation, translations and manual
    pages when it is not given. Copyright files stay.
    """

    kind: ClassVar[str] = "debian_base"

    suite: str
    packages: tuple[str, ...]
    pins: Annotated[str, Source()]
    omit: tuple[str, ...] = ()
    exclude: tuple[str, ...] = DOCUMENTATION
    architecture: Literal["amd64", "arm64"] = "amd64"
    install: bool = False

    def check(self) -> None:
        super().check()
        if not re.fullmatch("[a-z]+", self.suite):
            raise AttributeProblem("suite", f"expected the name of a Debian release, as 'bookworm', got {self.suite!r}")
        if not self.packages:
            raise AttributeProblem("packages", "is empty: name at least one package, as 'python3-minimal'")
        for attribute, names in (("packages", self.packages), ("omit", self.omit)):
            for name in names:
                if not NAME.fullmatch(name):
                    raise AttributeProblem(attribute, f"{name!r} is no name of a Debian package; versions stand in the file pins")
        if both := sorted(set(self.packages) & set(self.omit)):
            raise AttributeProblem("omit", f"{both[0]!r} is also among packages")
        if self.install and self.omit:
            raise AttributeProblem("omit", "what is installed (install=True) needs all it depends on: leave out one of the two")

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        debs, layer = f"{self.name}.debs", f"{self.name}.layer"
        yield DebianPackages(
            name=debs,
            suite=self.suite,
            packages=self.packages,
            pins=self.pins,
            omit=self.omit,
            architecture=self.architecture,
            essential=self.install,
        )
        yield DebianLayer(
            name=layer,
            debs=Label(package, debs),
            exclude=self.exclude,
            install=(self.suite, self.architecture) if self.install else None,
            compression=self.compression,
            mtime=self.mtime,
        )
        path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        yield Image(name=self.name, layers=(Label(package, layer),), env=path, architecture=self.architecture)


debian_base = declaration(DebianBase)


def write(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write the layer. Raises ActionError as `unpack` and `install` do."""
    from enginewright.debian import install, unpack

    # Beside the outputs, on the disk: a temporary folder may lie in memory, and this is all that will be in the image, several times over.
    with tempfile.TemporaryDirectory(dir=outputs["layer"].parent.resolve()) as temporary:
        debs = inputs["debs"].iterdir()
        if params["install"]:
            suite, architecture = params["install"]
            members = install.install(debs, suite, architecture, params["exclude"], Path(temporary))
        else:
            members = unpack.unpack(debs, params["exclude"], Path(temporary))
        write_layer(outputs, members, params["compression"], params["mtime"])
