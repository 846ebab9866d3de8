"""The action key: what decides whether an action must run.

A key is the digest of its `Material`, all that can change the action's outputs. The material is kept with every result, so
that two keys can be told apart in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import xxhash

from enginewright.graph.action import Action, Value
from enginewright.graph.encoding import encode

FORMAT = 1
"""Part of every key; raised when the meaning of the material, the sandbox or a result record changes."""


_HOW_MUCH = frozenset({"cpu", "memory"})
"""Execution requirements that say how much an action takes, not what it makes."""


@dataclass(frozen=True)
class Material:
    """What an action key covers.

    ``inputs`` maps an input's name to its workspace path and content digest, ``outputs`` an output's name to its path;
    ``code`` maps the package's modules that run to their digests, ``toolchain`` distributions to their versions.
    Not in it: absolute paths, times, the user, the machine's name, the order of a dict.
    """

    mnemonic: str
    run: str
    params: Mapping[str, Value]
    requires: Mapping[str, str]
    inputs: Mapping[str, tuple[str, str]]
    outputs: Mapping[str, str]
    code: Mapping[str, str]
    toolchain: Mapping[str, str]
    platform: str
    format: int = FORMAT

    def key(self) -> str:
        """The action key: XXH3-128 over the canonical encoding, 32 hexadecimal digits."""
        return xxhash.xxh3_128_hexdigest(encode(vars(self)))

    def recipe(self) -> str:
        """The same over all but platform and toolchain.

        A machine that cannot run an action, and so has no toolchain for it, can tell by this whether a result is the right one.
        """
        covered = {name: value for name, value in vars(self).items() if name not in ("platform", "toolchain")}
        return xxhash.xxh3_128_hexdigest(encode(covered))


def material(
    action: Action,
    *,
    inputs: Mapping[str, str],
    code: Mapping[str, str],
    toolchain: Mapping[str, str],
    platform: str,
) -> Material:
    """The material of ``action``, given the content digest of each input by name, and what is installed to run it."""
    return Material(
        mnemonic=action.mnemonic,
        run=action.run,
        params=action.params,
        requires={name: value for name, value in action.requires.items() if name not in _HOW_MUCH},
        inputs={name: (artifact.path, inputs[name]) for name, artifact in action.inputs.items()},
        outputs={name: artifact.path + "/" * artifact.tree for name, artifact in action.outputs.items()},
        code=code,
        toolchain=toolchain,
        platform=platform,
    )
