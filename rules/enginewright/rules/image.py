"""image(): an OCI image, as an image layout on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from enginewright.graph.action import Action
from enginewright.graph.attributes import AttributeProblem, Needs
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule, declaration
from enginewright.oci.layout import Descriptor, write_layout

_PORT = re.compile(r"([1-9][0-9]{0,4})(/tcp|/udp)?")
_SIGNAL = re.compile(r"SIG[A-Z0-9]+([+-][0-9]+)?|[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Image(Rule):
    """An image of ``layers``, the lowest first, for Linux on ``architecture``; it holds nothing else.

    ``entrypoint``, ``cmd``, ``env``, ``user`` (``user``, ``uid`` or ``user:group``), ``workdir``, ``labels``,
    ``exposed_ports`` (as ``"8000"`` or ``"53/udp"``) and ``stop_signal`` (as ``"SIGINT"``) are what a Dockerfile calls
    by these names. ``annotations`` are the manifest's.
    """

    kind: ClassVar[str] = "image"
    provides: ClassVar[Mapping[str, str]] = {"layout": ""}

    layers: tuple[Annotated[Label, Needs("layer")], ...]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    architecture: Literal["amd64", "arm64"] = "amd64"

    def check(self) -> None:
        if not self.layers:
            raise AttributeProblem("layers", "is empty: an image needs at least one layer")
        for layer in self.layers:
            if self.layers.count(layer) > 1:
                raise AttributeProblem("layers", f"{layer} is listed twice")
        for name in self.env:
            if not name or "=" in name:
                raise AttributeProblem("env", f"{name!r} cannot name a variable: it is empty or has a '='")
        if self.workdir and not self.workdir.startswith("/"):
            raise AttributeProblem("workdir", f"expected an absolute path in the image, got {self.workdir!r}")
        for port in self.exposed_ports:
            match = _PORT.fullmatch(port)
            if not match or int(match[1]) > 65535:
                raise AttributeProblem("exposed_ports", f"{port!r} is not a port: write '8000', '8000/tcp' or '8000/udp' (1 to 65535)")
        if self.stop_signal and not _SIGNAL.fullmatch(self.stop_signal):
            raise AttributeProblem("stop_signal", f"{self.stop_signal!r} is not a signal: write its name, as 'SIGTERM', or its number")

    def action(self, context: Context) -> Action:
        numbered = list(enumerate(self.layers))
        return Action(
            mnemonic="Image",
            run="enginewright.rules.image:assemble",
            inputs={f"{output}_{number}": context.input(layer, output) for number, layer in numbered for output in ("layer", "descriptor")},
            outputs={"layout": context.output("", tree=True)},
            params={
                "layers": tuple(str(layer) for layer in self.layers),
                "config": self._config(),
                "annotations": self.annotations,
                "architecture": self.architecture,
                "created": 0,
            },
        )

    def _config(self) -> dict[str, Any]:
        """The execution parameters that are set: ``config`` of the image configuration."""
        parameters: dict[str, Any] = {
            "Entrypoint": self.entrypoint,
            "Cmd": self.cmd,
            "Env": tuple(f"{name}={value}" for name, value in sorted(self.env.items())),
            "User": self.user,
            "WorkingDir": self.workdir,
            "Labels": self.labels,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "StopSignal": self.stop_signal,
        }
        return {name: value for name, value in parameters.items() if value}


image = declaration(Image)


def assemble(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write the image layout. Its configuration is OCI image-spec, config.md, "Properties"; ``created`` is in seconds since 1970."""
    numbers = range(len(params["layers"]))
    descriptors = [json.loads(inputs[f"descriptor_{number}"].read_bytes()) for number in numbers]
    created = datetime.fromtimestamp(params["created"], timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = {
        "created": created,
        "architecture": params["architecture"],
        "os": "linux",
        "config": params["config"],
        "rootfs": {"type": "layers", "diff_ids": [descriptor["diff_id"] for descriptor in descriptors]},
        "history": [{"created": created, "created_by": label} for label in params["layers"]],
    }
    layers = [(Descriptor.from_json(descriptor), inputs[f"layer_{number}"]) for number, descriptor in enumerate(descriptors)]
    write_layout(outputs["layout"], config, layers, params["annotations"])
