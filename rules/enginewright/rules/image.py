"""image(): an OCI image, as an image layout on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from enginewright.errors import ActionError
from enginewright.graph.action import Action
from enginewright.graph.attributes import AttributeProblem, Needs
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule, declaration
from enginewright.oci.config import configuration
from enginewright.oci.layer import read_layer
from enginewright.oci.layout import Image as BaseImage
from enginewright.oci.layout import blob_path, read_image, write_image
from enginewright.oci.media import BASE_DIGEST, BASE_NAME, LAYERS

_PORT = re.compile(r"([1-9][0-9]{0,4})(/tcp|/udp)?")
_USER = re.compile(r"[^\s:-][^\s:]*(:[^\s:-][^\s:]*)?")
_SIGNAL = re.compile(
    "SIG(ABRT|ALRM|BUS|CHLD|CONT|FPE|HUP|ILL|INT|IO|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|TERM|TRAP|TSTP|TTIN|TTOU|URG|USR1|USR2"
    r"|VTALRM|WINCH|XCPU|XFSZ|RTMIN(\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?)|[1-9]|[1-5][0-9]|6[0-4]"
)
"""Those of Linux, signal(7)."""


@dataclass(frozen=True, kw_only=True)
class Image(Rule):
    """An image of ``layers``, the lowest first, on top of ``base``, or of nothing else.

    ``base`` is an oci_base(), debian_base() or dockerfile_base(), or another image(). ``entrypoint``, ``cmd``, ``env``, ``user`` (``user``,
    ``uid`` or ``user:group``), ``workdir``, ``labels``, ``exposed_ports`` (as ``"8000"`` or ``"53/udp"``) and ``stop_signal`` (as
    ``"SIGINT"``) are what a Dockerfile calls by these names, and change what the base says as it would: variables, labels and ports are
    added, the rest is replaced, and an entrypoint takes away the base's command. An empty list is to have none.

    ``annotations`` are the manifest's. ``architecture`` is the base's, or ``"amd64"``. The image was created when the environment variable
    SOURCE_DATE_EPOCH says, or in 1970, so that the same content is the same image.
    """

    kind: ClassVar[str] = "image"
    provides: ClassVar[Mapping[str, str]] = {"layout": ""}

    base: Annotated[Label, Needs("base", "layout")] | None = None
    layers: tuple[Annotated[Label, Needs("layer")], ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    architecture: Literal["amd64", "arm64"] | None = None

    def check(self) -> None:
        if not self.layers and self.base is None:
            raise AttributeProblem("layers", "is empty: an image needs a base or at least one layer")
        for layer in self.layers:
            if self.layers.count(layer) > 1:
                raise AttributeProblem("layers", f"{layer} is listed twice")
        for name in self.env:
            if not name or "=" in name:
                raise AttributeProblem("env", f"{name!r} cannot name a variable: it is empty or has a '='")
        if self.workdir and (not self.workdir.startswith("/") or {".", ".."} & set(self.workdir.split("/"))):
            raise AttributeProblem("workdir", f"expected an absolute path in the image, with no '.' or '..', got {self.workdir!r}")
        if self.user and not _USER.fullmatch(self.user):
            raise AttributeProblem("user", f"{self.user!r} is no user: write 'NAME', '1000', or either with a group, as '1000:1000'")
        for port in self.exposed_ports:
            match = _PORT.fullmatch(port)
            if not match or int(match[1]) > 65535:
                raise AttributeProblem("exposed_ports", f"{port!r} is not a port: write '8000', '8000/tcp' or '8000/udp' (1 to 65535)")
        if self.stop_signal and not _SIGNAL.fullmatch(self.stop_signal):
            raise AttributeProblem("stop_signal", f"{self.stop_signal!r} is not a signal: write its name, as 'SIGTERM', or its number")
        if "" in self.labels:
            raise AttributeProblem("labels", "one has no name")
        check_annotations(self.annotations)
        if self.base is not None and BASE_NAME in self.annotations:
            raise AttributeProblem("annotations", f"{BASE_NAME} is made of the base: it says where layers are that are not here")
        for attribute, texts in (
            ("entrypoint", self.entrypoint or ()), ("cmd", self.cmd or ()), ("env", [*self.env, *self.env.values()]),
            ("workdir", [self.workdir]),
        ):  # fmt: skip
            if any("\0" in text for text in texts):
                raise AttributeProblem(attribute, "has a NUL in it, which no process can be given")

    def action(self, context: Context) -> Action:
        numbered = list(enumerate(self.layers))
        inputs = {f"{output}_{number}": context.input(layer, output) for number, layer in numbered for output in ("layer", "descriptor")}
        if self.base is not None:
            provided = context.outputs(self.base)
            inputs["base"] = provided["base" if "base" in provided else "layout"]
        return Action(
            mnemonic="Image",
            run="enginewright.rules.image:assemble",
            inputs=inputs,
            outputs={"layout": context.output("", tree=True)},
            params={
                "layers": tuple(str(layer) for layer in self.layers),
                "config": self._config(),
                "annotations": self.annotations,
                "architecture": self.architecture,
                "created": context.defaults.epoch,
            },
        )

    def _config(self) -> dict[str, Any]:
        """The execution parameters that are set: ``config`` of the image configuration."""
        declared: dict[str, Any] = {
            "Env": tuple(f"{name}={value}" for name, value in sorted(self.env.items())),
            "User": self.user,
            "WorkingDir": self.workdir,
            "Labels": self.labels,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "StopSignal": self.stop_signal,
        }
        commands = {"Entrypoint": self.entrypoint, "Cmd": self.cmd}
        return {name: value for name, value in declared.items() if value} | {
            name: value for name, value in commands.items() if value is not None
        }


def check_annotations(annotations: Mapping[str, str]) -> None:
    """Raise AttributeProblem for what annotations cannot be (annotations.md, "Rules")."""
    if "" in annotations:
        raise AttributeProblem("annotations", "one has no name")


image = declaration(Image)


def assemble(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write the image layout. Raises ActionError for a base that is no image, or one for another architecture than is declared."""
    base = read_image(inputs["base"]) if "base" in inputs else None
    declared = params["architecture"]
    if base and declared and base.platform["architecture"] != declared:
        raise ActionError(f"its base is for {base.platform['architecture']}, and it is declared for {declared}: leave out architecture")
    layers = [_base_layer(base, each, inputs["base"]) for each in base.manifest["layers"]] if base else []
    labels = []
    for number, label in enumerate(params["layers"]):
        layer = read_layer(inputs[f"descriptor_{number}"])
        layers.append((layer.descriptor.to_json(), inputs[f"layer_{number}"]))
        labels.append((label, layer.diff_id))
    config = configuration(params["config"], labels, params["created"], declared or "amd64", base)
    write_image(outputs["layout"], config, layers, {**(_base_annotations(base) if base else {}), **params["annotations"]})


def _base_layer(base: BaseImage, entry: Mapping[str, Any], layout: Path) -> tuple[Mapping[str, Any], Path | None]:
    """The descriptor of a base's layer, with the media type it has in an OCI manifest, and its blob, if it is there."""
    blob = blob_path(layout, entry["digest"])
    if not blob.exists() and not base.source:
        raise ActionError(f"its base lacks the layer {entry['digest']}, and nothing says which registry has it: build the base again")
    return {**entry, "mediaType": LAYERS[entry["mediaType"]]}, blob if blob.exists() else None


def _base_annotations(base: BaseImage) -> dict[str, str]:
    """What says which image this one is built on (annotations.md): for whoever fetches layers that are not here, too."""
    return {BASE_DIGEST: base.descriptor.digest, **({BASE_NAME: base.source} if base.source else {})}
