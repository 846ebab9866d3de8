"""dockerfile_base(): what an existing Dockerfile builds, as an image to build others on."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from enginewright.daemon import client, dockerfile
from enginewright.errors import ActionError, WorkspaceError
from enginewright.graph.action import NETWORK_VARIABLES, Action
from enginewright.graph.attributes import AttributeProblem, Source
from enginewright.graph.rule import Context, Rule, declaration
from enginewright.oci.members import gather

_SECRET = re.compile(r"env:[A-Za-z_]\w*|file:(~/|/).+")


@dataclass(frozen=True, kw_only=True)
class DockerfileBase(Rule):
    """What BuildKit, of a Docker Engine, makes of the file ``dockerfile``, up to the stage ``target`` if one is named.

    Its context is the package's folder, with the files ``srcs`` (as ``glob("site/**")``) and nothing else in it. They, the Dockerfile, the
    ``args`` (build args) and ``target`` decide whether it is built again; not what a ``FROM`` or a ``RUN`` gets from the network, so
    pin that by digest and version. A file is executable in the context if it begins with ``#!``, or is a binary. Cache mounts are the
    Engine's, and last from build to build.

    ``secrets`` are for ``RUN --mount=type=secret,id=ID``: ID and where its value is, ``env:VARIABLE`` or ``file:/PATH`` outside the
    workspace. Values are in no key, image, store or log; another value builds nothing again. Where Docker is not running, the target is
    skipped.
    """

    kind: ClassVar[str] = "dockerfile_base"
    provides: ClassVar[Mapping[str, str]] = {"base": ""}

    dockerfile: Annotated[str, Source()] = "Dockerfile"
    srcs: tuple[Annotated[str, Source()], ...] = ()
    args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    architecture: Literal["amd64", "arm64"] = "amd64"

    def check(self) -> None:
        for path in (self.dockerfile, *self.srcs):
            if path.startswith("dist://"):
                raise AttributeProblem("srcs", f"{path} is not in the package: a context is made of the package's files")
        for name, place in self.secrets.items():
            if not re.fullmatch(r"[\w.-]+", name):
                raise AttributeProblem("secrets", f"{name!r} cannot be the id of a secret")
            if not _SECRET.fullmatch(place):
                raise AttributeProblem(
                    f"secrets[{name!r}]", f"expected 'env:VARIABLE' or 'file:/PATH', got {place!r}; never the value itself"
                )
        for name in self.args:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise AttributeProblem("args", f"{name!r} cannot be the name of a build arg")

    def action(self, context: Context) -> Action:
        paths = dict.fromkeys((self.dockerfile, *self.srcs))
        variables = tuple(place.removeprefix("env:") for place in self.secrets.values() if place.startswith("env:"))
        return Action(
            mnemonic="DockerfileBase",
            run="enginewright.rules.dockerfile_base:build",
            inputs={f"context/{path}": context.source(path) for path in paths},
            outputs={"base": context.output("", tree=True)},
            params={
                "dockerfile": self.dockerfile,
                "args": self.args,
                "secrets": self.secrets,
                "target": self.target,
                "platform": f"linux/{self.architecture}",
            },
            packages=("docker",),
            requires={"network": "yes", "docker": "yes", "programs": "docker"},
            environment=(*NETWORK_VARIABLES, *client.VARIABLES, *variables),
            varies=True,  # BuildKit writes times into layers
        )


dockerfile_base = declaration(DockerfileBase)


def build(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Build it, and take the image in by its digest. Raises ActionError as `dockerfile.build` and `from_archive` do."""
    from enginewright.oci.base import from_archive

    files = {name.removeprefix("context"): path for name, path in inputs.items()}
    context = [
        member._replace(mode=dockerfile.mode_of(member.source)) if isinstance(member.source, Path) else member for member in gather(files)
    ]
    secrets = {name: _secret(name, place) for name, place in params["secrets"].items()}
    try:
        with client.connect() as docker, tempfile.TemporaryDirectory() as folder:
            image = dockerfile.build(context, params["dockerfile"], params["args"], secrets, params["target"], params["platform"])
            archive = Path(folder, "image.tar")
            dockerfile.save(docker, image, archive)
            from_archive(archive, params["platform"], outputs["base"], image)
    except WorkspaceError as error:
        raise ActionError(str(error)) from None


def _secret(name: str, place: str) -> bytes:
    kind, _, where = place.partition(":")
    if kind == "env":
        if where not in os.environ:
            raise ActionError(f"secrets[{name!r}]: the variable {where} is not set")
        return os.environb[where.encode()]
    try:
        return Path(where).expanduser().read_bytes()
    except OSError as error:
        raise ActionError(f"secrets[{name!r}]: {where}: {error.strerror}; it must be readable, and lie outside the workspace") from None
