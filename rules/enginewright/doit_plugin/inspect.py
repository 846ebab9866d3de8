"""``doit inspect``: what an engine, an ONNX model, an image or a layer is, and whether it is whole and could run here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.image_facts import of_image, of_layer, show_image, show_layer
from enginewright.doit_plugin.images import REGISTRY_OPTIONS, Opened, is_layout, is_reference, open_layout, open_reference
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.session import open_build, select, user_errors
from enginewright.doit_plugin.units import printable, show_size
from enginewright.errors import ActionError, with_article
from enginewright.execute.platform import gpus
from enginewright.graph.label import Label

Facts = Mapping[str, Any]

_NO_SETTINGS = "all are TensorRT's choice"

_OPT_FETCH = option("fetch", False, "also list layers that are not on this machine, which are read from their registry for that")


class InspectCommand(Command):
    """Describes one output. Changes nothing, and builds nothing."""

    name = "inspect"
    doc_purpose = "say what an engine, an ONNX model or an image is"
    doc_usage = "LABEL | FILE.engine | FILE.onnx | LAYOUT | REGISTRY/NAME:TAG"
    doc_description = (
        "Prints what the sidecar of an engine says, whether the engine file is the one that it describes, and whether this machine"
        " could run it; where it can, also the engine's layers. Of an ONNX model it prints inputs, outputs, operators and sizes, of an"
        " image its configuration and its layers, what is in each, and which target made it. A file need not be in a workspace; the"
        " sidecar of an engine lies beside it, under the same name with .json. Exit codes: 0 it is described, whole or not; 3 an error."
    )
    cmd_options = (_OPT_FETCH, *REGISTRY_OPTIONS, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Describe the one thing in ``args``."""
        if len(args) != 1:
            raise InvalidCommand("doit inspect takes one label or file, as in: doit inspect models/minilm:engine_sm_80")
        try:
            with user_errors():
                facts = self._facts(args[0], params)
        except ActionError as error:
            raise InvalidCommand(str(error)) from None
        if params["json"]:
            print(json.dumps(facts, indent=1))
        else:
            first, *more = _SHOWN[facts["kind"]](facts)
            print(f"{args[0]}: {printable(first)}", *map(printable, more), sep="\n")
        return 0

    def _facts(self, text: str, params: Any) -> Facts:
        if is_reference(text):
            return _images([open_reference(text, params)], params)
        kind, paths = ("image", (Path(text),)) if is_layout(text) else _file(Path(text)) if ":" not in text else self._target(text, params)
        if kind == "image":
            return _images(open_layout(paths[0], params), params)
        return {"kind": kind, "file": str(paths[0]), **_GATHERED[kind](*paths)}

    def _target(self, text: str, params: Any) -> tuple[str, tuple[Path, ...]]:
        """The kind of thing a target makes, and the files that tell of it, which must be there."""
        self.loader.setup(params)
        build = open_build(Path.cwd(), look_only=True)
        (label,) = select(build, [text])
        action = build.graph.targets[label].action
        if action is None:
            members = ", ".join(map(str, build.graph.deps[label][:8]))
            raise InvalidCommand(f"{label} is a group: inspect one of its members ({members})")
        for kind, names in _OUTPUTS:
            if set(names) <= set(action.outputs):
                paths = tuple(Path(action.outputs[name].path) for name in names)
                return kind, _there(paths, label)
        raise InvalidCommand(
            f"{label} is {with_article(build.graph.targets[label].kind)}: doit inspect knows engines, ONNX models, images and layers;"
            f" its outputs are {', '.join(artifact.path for artifact in action.outputs.values())}"
        )


def _there(paths: tuple[Path, ...], label: Label) -> tuple[Path, ...]:
    for path in paths:
        if not path.exists():
            raise InvalidCommand(f"{path} does not exist: doit build {label}")
    return paths


def _file(path: Path) -> tuple[str, tuple[Path, ...]]:
    if not path.exists():
        raise InvalidCommand(f"{path}: there is no such file; a label has a colon, as models/minilm:engine_sm_80")
    if path.suffix == ".onnx":
        return "onnx", (path,)
    sidecar = path.with_suffix(".json")
    if path.suffix != ".engine" or not sidecar.is_file():
        what = (
            f"{sidecar.name}, its sidecar, is not beside it"
            if path.suffix == ".engine"
            else "it is no .engine and no .onnx file, and no image layout"
        )
        raise InvalidCommand(f"{path}: {what}")
    return "engine", (path, sidecar)


def _engine(engine: Path, beside: Path) -> Facts:
    from enginewright.tensorrt import run, sidecar

    facts = sidecar.read(beside)
    damage = sidecar.damage(engine, facts)
    unfit = sidecar.unfit(facts, gpus(), _installed())
    plugins = any(name.startswith("plugins/") for name in facts["sources"])  # which are not beside the engine
    layers = None if damage or unfit or plugins else run.layers_of(engine, facts)
    return {"sidecar": facts, "damage": damage, "unfit": unfit, "layers": layers}


def _installed() -> dict[str, str]:
    """The versions of the backends that are installed, by the names of their modules."""
    from enginewright.tensorrt.backend import DISTRIBUTIONS

    found = {}
    for module, distribution in DISTRIBUTIONS.items():
        try:
            found[module] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return found


def _show_engine(facts: Facts) -> Iterator[str]:
    sidecar = facts["sidecar"]
    engine, backend = sidecar["engine"], sidecar["backend"]
    product = {"tensorrt_rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}.get(backend["name"], backend["name"])
    yield f"engine for {sidecar['arch']}, {sidecar['precision']}, built by {product} {backend['version']}"
    weights = "" if engine["weight_bytes"] is None else f", of which weights {show_size(engine['weight_bytes'])}"
    yield f"  file       {facts['file']}, {show_size(engine['size'])}{weights}"
    yield from _show_tensors(sidecar["io"])
    for number, profile in enumerate(sidecar["profiles"]):
        shapes = (f"{name} {' '.join(_shape(shape) for shape in three)}" for name, three in profile.items())
        yield f"  profile {number}  {', '.join(shapes)} (min, opt, max)"
    settings = [f"{name} {value}" for name, value in sidecar["settings"].items() if value not in (None, False)]
    yield f"  settings   {', '.join(settings) or _NO_SETTINGS}"
    if sidecar.get("device_memory") is not None:
        yield f"  GPU memory {show_size(sidecar['device_memory'])}, beside weights, inputs and outputs"
    for name, source in sidecar["sources"].items():
        yield f"  made from  {name}, sha256 {source['sha256']}"
    yield f"  whole      {'no: ' + facts['damage'] if facts['damage'] else 'yes, it is what its sidecar describes'}"
    yield f"  runs here  {'no: ' + facts['unfit'] if facts['unfit'] else 'yes'}"
    for layer in facts["layers"] or ():
        yield f"  layer      {layer}"


def _onnx(path: Path) -> Facts:
    import onnx

    from enginewright.model.onnx_facts import describe
    from enginewright.model.onnx_format import parse_model

    model: onnx.ModelProto = parse_model(path)
    return {"size": path.stat().st_size, **describe(model)}


def _show_onnx(facts: Facts) -> Iterator[str]:
    opset = ", ".join(f"{domain} {version}" for domain, version in facts["opset"].items())
    yield f"ONNX model, {facts['precision']}, operators of {opset}"
    yield f"  file       {facts['file']}, {show_size(facts['size'])}"
    yield from _show_tensors(facts["io"])
    sizes = ", ".join(f"{dtype} {show_size(size)}" for dtype, size in facts["weight_bytes"].items())
    yield f"  parameters {facts['parameters']}{f' ({sizes})' if sizes else ''}"
    yield f"  operators  {', '.join(f'{name} {count}' for name, count in facts['operators'].items())}"


def _images(opened: list[Opened], params: Mapping[str, Any]) -> Facts:
    images = [{"file": each.where, **of_image(each, params["fetch"])} for each in opened]
    return {"kind": "image", **images[0]} if len(images) == 1 else {"kind": "index", "file": opened[0].where, "images": images}


def _show_index(facts: Facts) -> Iterator[str]:
    yield f"index of {len(facts['images'])} images"
    for number, image in enumerate(facts["images"], start=1):
        lines = show_image(image)
        yield f"{number}: {next(lines)}"
        yield from lines


def _show_tensors(io: list[Facts]) -> Iterator[str]:
    for tensor in io:
        yield f"  {tensor['mode']:10} {tensor['name']}: {tensor['dtype']} {_shape(tensor['shape'])}"


def _shape(shape: list[int | str]) -> str:
    return f"[{', '.join(map(str, shape))}]"


_OUTPUTS = (
    ("engine", ("engine", "sidecar")),
    ("onnx", ("onnx",)),
    ("image", ("layout",)),
    ("image", ("base",)),
    ("layer", ("layer", "descriptor")),
)
"""The outputs of a target by which its kind is known, and which are read."""

_GATHERED: dict[str, Callable[..., Facts]] = {"engine": _engine, "onnx": _onnx, "layer": of_layer}
_SHOWN: dict[str, Callable[[Facts], Iterator[str]]] = {
    "engine": _show_engine,
    "onnx": _show_onnx,
    "image": show_image,
    "index": _show_index,
    "layer": show_layer,
}
