"""An analysed graph as bytes, made so that reading it costs little: a target is unpacked only when it is asked for."""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Mapping
from typing import Any

from enginewright.graph.action import Action, Artifact, WarmUp
from enginewright.graph.dag import Graph, Target
from enginewright.graph.label import Label
from enginewright.graph.rule import Location


def pack(graph: Graph) -> bytes:
    """The bytes of a graph, for `unpack` of the same version of this package."""
    position = {label: i for i, label in enumerate(graph.deps)}
    return marshal.dumps(
        (
            [tuple(label) for label in graph.deps],
            [tuple(position[dep] for dep in deps) for deps in graph.deps.values()],
            [_pack_target(target) for target in graph.targets.values()],
            [position[label] for label in graph.groups],
        ),
        4,
    )


def unpack(data: bytes) -> Graph:
    """The graph that `pack` packed. ``data`` must be just that: marshal trusts its input."""
    names, edges, bodies, groups = marshal.loads(data)
    labels = [Label(*name) for name in names]
    deps = {label: tuple([labels[i] for i in each]) for label, each in zip(labels, edges)}
    return Graph(deps, _Targets(deps, dict(zip(labels, bodies))), frozenset(labels[i] for i in groups))


class _Targets(Mapping[Label, Target]):
    """The targets of a packed graph, each unpacked once."""

    def __init__(self, deps: Mapping[Label, tuple[Label, ...]], bodies: Mapping[Label, bytes]) -> None:
        self._deps = deps
        self._bodies = bodies
        self._unpacked: dict[Label, Target] = {}

    def __getitem__(self, label: Label) -> Target:
        found = self._unpacked.get(label)
        if found is None:
            found = self._unpacked[label] = _unpack_target(label, self._deps[label], self._bodies[label])
        return found

    def __iter__(self) -> Iterator[Label]:
        return iter(self._bodies)

    def __len__(self) -> int:
        return len(self._bodies)


def _pack_target(target: Target) -> bytes:
    action = target.action
    packed: Any = action and (
        action.mnemonic,
        action.run,
        {name: tuple(artifact) for name, artifact in action.inputs.items()},
        {name: tuple(artifact) for name, artifact in action.outputs.items()},
        _plain(action.params),
        action.packages,
        dict(action.requires),
        action.warm_up and tuple(action.warm_up),
        action.previous,
        action.environment,
        action.varies,
    )
    return marshal.dumps((target.kind, tuple(target.location), packed, dict(target.attributes)), 4)


def _unpack_target(label: Label, deps: tuple[Label, ...], body: bytes) -> Target:
    kind, location, packed, attributes = marshal.loads(body)
    action = None
    if packed is not None:
        mnemonic, run, inputs, outputs, params, packages, requires, warm_up, previous, environment, varies = packed
        action = Action(
            mnemonic=mnemonic,
            run=run,
            inputs={name: Artifact(*artifact) for name, artifact in inputs.items()},
            outputs={name: Artifact(*artifact) for name, artifact in outputs.items()},
            params=params,
            packages=packages,
            requires=requires,
            warm_up=warm_up and WarmUp(*warm_up),
            previous=previous,
            environment=environment,
            varies=varies,
        )
    return Target(label, kind, Location(*location), deps, action, attributes)


def _plain(value: Any) -> Any:
    """A `Value` in the types that marshal knows."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(_plain(item) for item in value)
    return value
