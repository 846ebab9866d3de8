"""tensorrt_engine(): a model compiled for GPU architectures, one engine and one target each.

There are two backends. TensorRT-RTX compiles ahead of time on a machine without a GPU; TensorRT compiles for the GPU that it runs
on, by measuring kernels there. Each engine has a sidecar (`enginewright.tensorrt.sidecar`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from enginewright.errors import ActionError, with_article
from enginewright.graph.action import Action
from enginewright.graph.attributes import AttributeProblem, Needs, Source, check_least, did_you_mean
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Group, Lookup, Rule, declaration
from enginewright.model.architecture import resolve
from enginewright.model.checksum import sha256_of
from enginewright.model.shapes import Range, check_ranges
from enginewright.tensorrt.backend import DISTRIBUTIONS, RTX, RTX_CAPABILITIES, TENSORRT, choose

if TYPE_CHECKING:
    import onnx

_OF_TENSORRT = ("timing_cache", "version_compatible", "hardware_compatibility")
"""The attributes that mean nothing to TensorRT-RTX."""


@dataclass(frozen=True, kw_only=True)
class _Options(Rule):
    """How engines are built: the attributes that tensorrt_engine() has in common with each engine that it declares."""

    model: Annotated[Label, Needs("onnx")]
    workspace_mib: int | None = None
    optimization_level: int | None = None
    timing_cache: Annotated[str, Source()] | None = None
    plugins: tuple[Annotated[str, Source()], ...] = ()
    version_compatible: bool = False
    hardware_compatibility: Literal["ampere_plus", "same_compute_capability"] | None = None


@dataclass(frozen=True, kw_only=True)
class TensorrtEngine(_Options):
    """``model`` as one TensorRT engine per architecture of ``archs``: targets ``NAME_sm_80`` and so on, and ``NAME`` for all.

    ``archs`` are architectures, as ``"sm_80"``, GPUs, as ``"A100"``, and families: turing, ampere (sm_80 and sm_86), ada, hopper,
    blackwell (sm_100 and sm_120). ``backend`` is ``tensorrt_rtx``, ``tensorrt``, or ``auto`` for the first where it builds for the
    architecture and else the second, which needs a GPU of it.

    ``dims`` replaces (min, opt, max) of some of the dimensions that the onnx_model() at the start of the model's chain declares,
    within what it was exported for; ``profiles``, a list of such dicts, makes an optimisation profile of each. ``workspace_mib``
    limits the scratch memory of the engine, in MiB; ``optimization_level`` (0 to 5) trades build time for speed. Both are
    TensorRT's choice when left out. ``plugins`` are shared libraries with operators of your own.

    With ``tensorrt`` only: ``timing_cache`` is a file with measurements to take instead of making them again, as a build leaves it
    in ``NAME_ARCH.timing_cache``; from TensorRT 10 on a build fails that needs one which is not in it. ``version_compatible`` has
    later versions load the engine, ``hardware_compatibility`` other GPUs, at a cost in speed.
    """

    kind: ClassVar[str] = "tensorrt_engine"

    archs: tuple[str, ...]
    backend: Literal["auto", "tensorrt", "tensorrt_rtx"] = "auto"
    dims: Mapping[str, Range] = field(default_factory=dict)
    profiles: tuple[Mapping[str, Range], ...] = ()

    def check(self) -> None:
        if not self.archs:
            raise AttributeProblem("archs", "expected at least one architecture, as 'sm_80'")
        backends = {arch: choose(self.backend, arch) for arch in resolve(self.archs, "archs")}
        for arch, backend in backends.items():
            if backend == RTX and arch not in RTX_CAPABILITIES:
                raise AttributeProblem(
                    "backend", f"TensorRT-RTX cannot build for {arch} (it builds for {', '.join(RTX_CAPABILITIES)}): write backend='auto'"
                )
            for attribute in _OF_TENSORRT if backend == RTX else ():
                if getattr(self, attribute):
                    raise AttributeProblem(attribute, f"TensorRT-RTX, which builds for {arch}, has no such thing: write backend='tensorrt'")
        if self.dims and self.profiles:
            raise AttributeProblem("profiles", "dims is one profile and profiles are all of them: give one of the two")
        for where, dims in self._ranges():
            check_ranges(where, dims)
        check_least("workspace_mib", self.workspace_mib, 1, "MiB")
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise AttributeProblem("optimization_level", f"is {self.optimization_level}: expected 0 to 5")
        for i, plugin in enumerate(self.plugins):
            if self.plugins.count(plugin) > 1:
                raise AttributeProblem(f"plugins[{i}]", f"{plugin!r} is listed twice")

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        exported_by, exported = exported_dims(self.model, lookup)
        for where, dims in self._ranges():
            for dim, wanted in dims.items():
                if exported is not None:
                    _check_exported(f"{where}[{dim!r}]", dim, wanted, exported_by, exported)
        profiles = tuple({**(exported or {}), **dims} for _, dims in self._ranges())
        archs = resolve(self.archs, "archs")
        for arch in archs:
            yield Engine(
                **{each.name: getattr(self, each.name) for each in fields(_Options) if each.name != "name"},
                name=f"{self.name}_{arch}",
                arch=arch,
                backend=choose(self.backend, arch),
                profiles=profiles,
            )
        yield Group(name=self.name, members=tuple(Label(package, f"{self.name}_{arch}") for arch in archs))

    def _ranges(self) -> list[tuple[str, Mapping[str, Range]]]:
        """What is declared of each profile, and where."""
        return [(f"profiles[{i}]", dims) for i, dims in enumerate(self.profiles)] or [("dims", self.dims)]


tensorrt_engine = declaration(TensorrtEngine)


def exported_dims(model: Label, lookup: Lookup) -> tuple[Label, Mapping[str, Range] | None]:
    """The dynamic dimensions of a model, from the first rule up its chain of models that declares them, and that rule's label.

    None when there is no such rule: then the build knows them.
    """
    seen = {model}
    rule = lookup(model)
    while not hasattr(rule, "dims") and isinstance(source := getattr(rule, "model", None), Label) and source not in seen:
        seen.add(source)
        model, rule = source, lookup(source)
    return model, getattr(rule, "dims", None)


def _check_exported(where: str, dim: str, wanted: Range, exported_by: Label, exported: Mapping[str, Range]) -> None:
    """Raise AttributeProblem where a model was not exported for sizes of a dimension."""
    if dim not in exported:
        raise AttributeProblem(where, f"{exported_by} has no such dimension{did_you_mean(dim, exported)}")
    least, _, most = exported[dim]
    if wanted[0] < least or wanted[2] > most:
        raise AttributeProblem(where, f"{exported_by} was exported for sizes {least} to {most} only")


def engines_by_arch(engines: Label, lookup: Lookup) -> dict[str, Label]:
    """The engines that ``engines`` stands for, a tensorrt_engine() or one engine of it, by architecture, ascending.

    Raises AttributeProblem where there are none.
    """
    try:
        named = lookup(engines)
    except AttributeProblem as problem:
        try:  # one engine is declared by expansion only
            declared, engine = find_engine(engines, "", lookup)
        except AttributeProblem:
            raise AttributeProblem("engines", str(problem)) from None
        return {engine.arch: declared}
    # What takes engines itself makes none, and one that names itself would be expanded for ever.
    expanded = [] if hasattr(named, "engines") or hasattr(named, "models") else list(named.expand(engines.package, lookup))
    labels = {vars(rule)["arch"]: Label(engines.package, rule.name) for rule in expanded if "engine" in rule.provides}
    if not labels:
        raise AttributeProblem("engines", f"{engines} is {with_article(named.kind)}, which makes no engines: name a tensorrt_engine()")
    # Shorter first: sm_90 comes before sm_120.
    return {arch: labels[arch] for arch in sorted(labels, key=lambda arch: (len(arch), arch))}


def find_engine(engine: Label, arch: str, lookup: Lookup) -> tuple[Label, Engine]:
    """The engine that ``engine`` names: by itself, as ``:engine_sm_90``, or by its tensorrt_engine() and an architecture.

    Raises AttributeProblem where there is none.
    """
    attribute, declared, wanted = "arch", engine, resolve([arch] if arch else [], "arch")
    if not arch and (whole := re.fullmatch(r"(.+)_(sm_\d+)", engine.name)):
        attribute, declared, wanted = "engine", Label(engine.package, whole[1]), (whole[2],)
    try:
        rule = lookup(declared)
    except AttributeProblem as problem:
        raise AttributeProblem("engine", str(problem)) from None
    if not isinstance(rule, TensorrtEngine):
        raise AttributeProblem(
            "engine", f"{declared} is {with_article(rule.kind)}: name an engine of a tensorrt_engine(), as ':engine_sm_90'"
        )
    engines = [each for each in rule.expand(declared.package, lookup) if isinstance(each, Engine)]
    found = [each for each in engines if each.arch in wanted]
    if len(found) != 1:
        which = f"has {len(found) or 'no'} engines for {arch or wanted[0]}" if wanted else "is one engine for each architecture"
        raise AttributeProblem(attribute, f"{declared} {which}: name one of {', '.join(f':{each.name}' for each in engines)}")
    return Label(declared.package, found[0].name), found[0]


@dataclass(frozen=True, kw_only=True)
class Engine(_Options):
    """One engine: what tensorrt_engine() declares for one architecture. ``profiles`` have a range for every dynamic dimension."""

    kind: ClassVar[str] = "tensorrt_engine"
    provides: ClassVar[Mapping[str, str]] = {"engine": ".engine", "sidecar": ".json"}

    arch: str
    backend: str
    profiles: tuple[Mapping[str, Range], ...]

    def action(self, context: Context) -> Action:
        model = context.outputs(self.model)
        inputs = {"model": model["onnx"], **({"data": model["data"]} if "data" in model else {})}
        inputs |= {f"plugins/{path}": context.source(path) for path in self.plugins}
        if self.timing_cache is not None:
            inputs["timing_cache"] = context.source(self.timing_cache)
        measures = self.backend == TENSORRT
        return Action(
            mnemonic="TensorrtEngine",
            run="enginewright.rules.engine:build",
            inputs=inputs,
            outputs={
                **{name: context.output(suffix) for name, suffix in self.provides.items()},
                **({"timing_cache": context.output(".timing_cache")} if measures else {}),
            },
            params={
                "arch": self.arch,
                "backend": self.backend,
                "profiles": self.profiles,
                "workspace_mib": self.workspace_mib,
                "optimization_level": self.optimization_level,
                "version_compatible": self.version_compatible,
                "hardware_compatibility": self.hardware_compatibility,
            },
            packages=(DISTRIBUTIONS[self.backend], "onnx"),
            warm_up=None,  # a build that failed leaves the process in a state in which the next engine silently differs
            requires={"gpu": self.arch} if measures else {},
            # Timings say how long kernels take on a GPU, not what they compute.
            previous=("timing_cache",) if measures else (),
        )


def build(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Compile ``model`` for one architecture, and write the engine, its sidecar and, where there is such an output, its timing cache.

    Raises ActionError with TensorRT's own messages. Run it in a process of its own: after a failure, TensorRT-RTX builds
    other bytes in the same process.
    """
    from enginewright.tensorrt import backend as backends
    from enginewright.tensorrt import sidecar
    from enginewright.tensorrt.build import Request, open_builder
    from enginewright.tensorrt.build import build as build_engine

    path, data = inputs["model"], inputs.get("data")
    settings = {name: params[name] for name in backends.Settings.__dataclass_fields__}
    plugins = {name: plugin for name, plugin in inputs.items() if name.startswith("plugins/")}
    cache = inputs.get("timing_cache", inputs.get("previous/timing_cache"))
    began = time.monotonic()
    # Both take seconds, and TensorRT does not let other threads run meanwhile.
    with ProcessPoolExecutor(1, get_context("fork")) as beside:
        reading = beside.submit(_read, path, data, params["profiles"])
        backend = backends.load(params["backend"])
        opened = open_builder(backend, params["arch"], list(plugins.values()))
        model = reading.result()
    built = build_engine(
        opened,
        Request(
            model=path, external=data is not None, profiles=model.profiles, settings=backends.Settings(**settings), types=model.types,
            float32_nodes=() if backend.strongly_typed else model.float32_nodes,
            timing_cache=cache.read_bytes() if cache else b"", pinned="timing_cache" in inputs,
        ),
    )  # fmt: skip
    print(f"{backend} took {time.monotonic() - began:.2f} s")
    sources = {"onnx": path, **({"data": data} if data else {}), **({"timing_cache": cache} if cache else {})}
    sources |= plugins
    sidecar.write(
        outputs["sidecar"],
        {
            "arch": params["arch"],
            "backend": {"name": backend.name, "version": backend.version},
            "engine": sidecar.describe_engine(built.engine, params["arch"], backend),
            "device_memory": built.device_memory,
            # An engine may take another type than its model: TensorRT 8 has no int64.
            "io": [{**tensor, "dtype": built.dtypes.get(tensor["name"], tensor["dtype"])} for tensor in model.io],
            "precision": model.precision,
            "profiles": model.profiles,
            "settings": settings,
            "sources": {name: {"sha256": sha256_of(source)} for name, source in sources.items()},
        },
    )
    outputs["engine"].write_bytes(built.engine)
    if built.timing_cache is not None:
        outputs["timing_cache"].write_bytes(built.timing_cache)


class _Read(NamedTuple):
    """What building an engine takes to know of its model."""

    profiles: list[dict[str, tuple[list[int], ...]]]
    io: list[dict[str, Any]]
    precision: str
    types: tuple[str, ...]
    float32_nodes: list[str]


def _read(path: Path, data: Path | None, profiles: Sequence[Mapping[str, Sequence[int]]]) -> _Read:
    """Check a model, with its external data if it has any. TensorRT's parser accepts files that are not ONNX at all, and damaged data.

    Raises ActionError, also where the model's dynamic dimensions are not those of the profiles.
    """
    from enginewright.model import onnx_facts
    from enginewright.model.external_data import read_with_data
    from enginewright.model.onnx_format import read_model

    model = read_with_data(path, data) if data else read_model(path)
    types = onnx_facts.element_types(model)
    return _Read(
        profiles=[shapes for dims in profiles if (shapes := _profile(model, dims))],
        io=onnx_facts.tensors(model),
        precision=onnx_facts.precision(model),
        types=types,
        float32_nodes=onnx_facts.float32_nodes(model) if {"float16", "float32"} <= set(types) else [],
    )


def _profile(model: onnx.ModelProto, dims: Mapping[str, Sequence[int]]) -> dict[str, tuple[list[int], ...]]:
    """The shapes (min, opt, max) of every input with a dynamic dimension. Raises ActionError unless ``dims`` has exactly those."""
    from enginewright.model.onnx_facts import shape_of

    profile = {}
    used = set()
    for value in model.graph.input:
        shape = shape_of(value)
        names = {dim for dim in shape if isinstance(dim, str)}
        if missing := sorted(names - set(dims)):
            raise ActionError(f"input {value.name} has the dynamic dimension {missing[0]!r} and no range for it: add it to dims")
        if names:
            profile[value.name] = tuple([dims[dim][i] if isinstance(dim, str) else dim for dim in shape] for i in range(3))
        used |= names
    if unknown := sorted(set(dims) - used):
        raise ActionError(f"dims: no input of the model has a dimension {unknown[0]!r} (there are: {', '.join(sorted(used)) or 'none'})")
    return profile
