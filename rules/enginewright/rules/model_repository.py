"""model_repository(): models in the folders that a Triton Inference Server reads, each with its config.pbtxt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from enginewright.errors import ActionError
from enginewright.graph.action import Action
from enginewright.graph.attributes import AttributeProblem, Needs, Source
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Lookup, Rule, declaration
from enginewright.rules.engine import engines_by_arch, exported_dims
from enginewright.tensorrt.backend import RTX

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class ModelRepository(Rule):
    """A Triton model repository of ``models``, a dict from their names in Triton to a tensorrt_engine(), one engine, or an ONNX model.

    ``config.pbtxt`` is made of what is known of the model: names, types and shapes of its tensors, the largest batch, its profiles.
    Of a tensorrt_engine() Triton picks the file for its GPU. ``config`` maps names of models to files of the package whose text is
    added to their configuration, for what only you know, such as ``dynamic_batching { }``.

    Each model has one version folder. Its number is made of the content, and the configuration names it, so Triton loads that one
    and no other. With ``version`` it is a number of yours, and the configuration asks for the latest.

    Triton's TensorRT backend loads no engines of TensorRT-RTX; ``backend`` names one of your own that does.
    """

    kind: ClassVar[str] = "model_repository"

    models: Mapping[str, Label]
    config: Mapping[str, Annotated[str, Source()]] = field(default_factory=dict)
    version: int | None = None
    backend: str = ""

    def check(self) -> None:
        if not self.models:
            raise AttributeProblem("models", "is empty: a repository needs at least one model, as {'minilm': ':engine'}")
        for name in self.models:
            if not _NAME.fullmatch(name):
                raise AttributeProblem("models", f"{name!r} cannot name a model in Triton: use letters, digits and _ . -")
        for name in self.config:
            if name not in self.models:
                raise AttributeProblem("config", f"{name!r} is not in models")
        if self.version is not None and self.version < 1:
            raise AttributeProblem("version", f"is {self.version}: Triton takes versions from 1")

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        engines, onnx, largest = {}, {}, {}
        for name, label in self.models.items():
            where = f"models[{name!r}]"
            try:
                rule = lookup(label)
                is_onnx = "onnx" in rule.provided()
            except AttributeProblem:
                is_onnx = False
            if is_onnx:
                onnx[name] = label
                _, dims = exported_dims(label, lookup)
                largest[name] = {dim: most for dim, (_, _, most) in (dims or {}).items()}
                continue
            try:
                engines[name] = engines_by_arch(label, lookup)
            except AttributeProblem as problem:
                raise AttributeProblem(where, problem.problem) from None
            for arch, engine in engines[name].items():
                if not self.backend and _backend(label, engine, lookup) == RTX:
                    raise AttributeProblem(
                        where,
                        f"the engine for {arch} is one of TensorRT-RTX, which Triton's TensorRT backend cannot load: name the ONNX model,"
                        " engines of backend='tensorrt', or with backend=... a Triton backend of your own",
                    )
        yield _Repository(
            name=self.name, engines=engines, onnx=onnx, largest=largest, config=self.config, version=self.version, backend=self.backend
        )


def _backend(declared: Label, engine: Label, lookup: Lookup) -> str:
    """What builds an engine, of those that a label stands for; empty for a rule that does not say."""
    label = declared if declared != engine else Label(engine.package, engine.name.rpartition("_sm_")[0])
    expanded = lookup(label).expand(label.package, lookup)
    return next((getattr(rule, "backend", "") for rule in expanded if rule.name == engine.name), "")


model_repository = declaration(ModelRepository)


@dataclass(frozen=True, kw_only=True)
class _Repository(Rule):
    """What model_repository() declares: ``engines`` by model and architecture, and of ONNX models the largest size of each dimension."""

    kind: ClassVar[str] = "model_repository"
    provides: ClassVar[Mapping[str, str]] = {"bundle": ""}

    engines: Mapping[str, Mapping[str, Annotated[Label, Needs("engine")]]]
    onnx: Mapping[str, Annotated[Label, Needs("onnx")]]
    largest: Mapping[str, Mapping[str, int]]
    config: Mapping[str, Annotated[str, Source()]]
    version: int | None
    backend: str

    def action(self, context: Context) -> Action:
        inputs = {f"config/{name}": context.source(path) for name, path in self.config.items()}
        for name, engines in self.engines.items():
            for arch, engine in engines.items():
                inputs |= {f"{output}/{name}/{arch}": context.input(engine, output) for output in ("engine", "sidecar")}
        for name, model in self.onnx.items():
            made = context.outputs(model)
            inputs |= {f"{output}/{name}": made[output] for output in ("onnx", "data") if output in made}
        return Action(
            mnemonic="ModelRepository",
            run="enginewright.rules.model_repository:write_repository",
            inputs=inputs,
            outputs={"bundle": context.output("", tree=True)},
            params={
                "engines": {name: tuple(engines) for name, engines in self.engines.items()},
                "onnx": tuple(self.onnx),
                "largest": self.largest,
                "version": self.version,
                "backend": self.backend,
            },
            packages=("onnx",) if self.onnx else (),
        )


def write_repository(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write the folders of all models, and SHA256SUMS over them.

    Files of models are symbolic links to the inputs, which whoever keeps the folder puts into their place, as the sandbox does. Raises
    ActionError for engines of one model that differ in their tensors, and for what Triton does not have.
    """
    from enginewright.bundle.sums import seal
    from enginewright.model.checksum import sha256_of
    from enginewright.model.triton import config, version_of, with_more

    for name in (*params["engines"], *params["onnx"]):
        model, files = _engines(name, inputs, params) if name in params["engines"] else _onnx(name, inputs, params)
        number = params["version"] or version_of({file: sha256_of(path) for file, path in files.items()})
        folder = outputs["bundle"] / name / str(number)
        folder.mkdir(parents=True)
        for file, path in files.items():
            (folder / file).symlink_to(path.resolve())
        text = config(model, number, "latest" if params["version"] else "specific")
        if f"config/{name}" in inputs:
            text = with_more(text, inputs[f"config/{name}"].read_bytes(), f"config[{name!r}]")
        (folder.parent / "config.pbtxt").write_text(text, encoding="utf-8")
    seal(outputs["bundle"])


def _engines(name: str, inputs: Mapping[str, Path], params: Mapping[str, Any]) -> Any:
    """The model of engines, and its files by name."""
    from enginewright.model.triton import Model, capability
    from enginewright.tensorrt import sidecar

    archs = params["engines"][name]
    facts = {arch: sidecar.read(inputs[f"sidecar/{name}/{arch}"]) for arch in archs}
    first = facts[archs[0]]
    for arch in archs:
        for part in ("io", "profiles"):
            if facts[arch][part] != first[part]:
                raise ActionError(f"{name}: the engines for {archs[0]} and {arch} differ in {part}: Triton has one configuration for both")
    largest: dict[str, int] = {}
    for profile in first["profiles"]:
        for tensor in first["io"]:
            for dim, size in zip(tensor["shape"], profile[tensor["name"]][2] if tensor["name"] in profile else ()):
                if isinstance(dim, str):
                    largest[dim] = max(size, largest.get(dim, 0))
    runs_with = f'backend: "{params["backend"]}"' if params["backend"] else 'platform: "tensorrt_plan"'
    single = len(archs) == 1
    files = {"model.plan" if single else f"model_{arch}.plan": inputs[f"engine/{name}/{arch}"] for arch in archs}
    by_capability = None if single else {capability(arch): f"model_{arch}.plan" for arch in archs}
    return Model(name, runs_with, first["io"], largest, len(first["profiles"]), by_capability), files


def _onnx(name: str, inputs: Mapping[str, Path], params: Mapping[str, Any]) -> Any:
    """The model of an ONNX file, and its files by name; weights in a file of their own keep its name, which the model has in it."""
    from enginewright.model import onnx_facts
    from enginewright.model.onnx_format import parse_model
    from enginewright.model.triton import Model

    path, data = inputs[f"onnx/{name}"], inputs.get(f"data/{name}")
    model = Model(name, 'platform: "onnxruntime_onnx"', onnx_facts.tensors(parse_model(path)), params["largest"][name])
    return model, {"model.onnx": path, **({data.name: data} if data else {})}
