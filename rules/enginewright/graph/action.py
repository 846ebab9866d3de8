"""Actions and the artifacts they read and write: what analysis makes of a target. Plain data; nothing here touches a disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

Value: TypeAlias = None | bool | int | float | str | tuple["Value", ...] | Mapping[str, "Value"]
"""What an action's parameters are made of: all that JSON holds, and nothing else."""


LINEAGE, TODAY = "lineage:", "date:"
"""How origins begin of inputs that the build itself writes."""


class Artifact(NamedTuple):
    """A file, or a folder when ``tree`` is set, that an action reads or writes.

    ``path`` is relative to the workspace, ``/``-separated; an action sees it at the same path below its sandbox.
    ``origin`` names a source that does not lie in the workspace: ``dist://NAME/PATH``, a file of an installed
    distribution; or an input that the build itself writes: ``lineage:LABEL``, how that target came about, and ``date:``,
    what day it is (`enginewright.execute.written`). It is empty for everything else.
    """

    path: str
    tree: bool = False
    origin: str = ""

    @property
    def written(self) -> bool:
        """Whether the build itself writes it."""
        return self.origin.startswith((LINEAGE, TODAY))


class WarmUp(NamedTuple):
    """What a fork server does before it forks processes for actions: it calls ``run``, ``module:function``.

    ``packages`` are the distributions that may be imported by it; every action that uses it must declare them too. The empty
    one suits actions that import little.
    """

    run: str = ""
    packages: tuple[str, ...] = ()


LIGHT = WarmUp()

NETWORK_VARIABLES = (
    "HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
"""The variables by which a machine says how its network is reached: what an action that fetches pinned bytes names in ``environment``."""

APT_SOURCES = "ENGINEWRIGHT_APT_SOURCES"
"""Names a sources.list, or a file of deb822 sources, for apt to use instead of the machine's."""


@dataclass(frozen=True)
class Action:
    """How to make one target's outputs from its inputs. All that can change the outputs is in here.

    ``run`` names a module-level function, ``module:function``, which is called in a sandbox as
    ``function(inputs, outputs, params)``; ``inputs`` and ``outputs`` map the names given here to `pathlib.Path`.
    ``packages`` are the distributions the function imports; they and what they require are the action's toolchain, and
    nothing else that is installed can be imported. ``previous`` names outputs that are offered to the action's next run, as inputs
    ``previous/NAME``, when the store has the last result of this target. They are not in the action key, so it must not matter to what the
    other outputs mean whether they are there: measurements that a run may save itself, and nothing else. What depends on the
    target does not see them. ``warm_up`` is what its process is forked from; None asks for a fresh
    process, for libraries in which one action would leave traces for the next. ``requires`` holds Bazel's execution requirements, such as
    ``{"gpu": "sm_90"}``; an action is skipped where they cannot be met. ``environment`` names variables of the caller's environment that
    the action is to see, ``HOME`` for the caller's home among them. Their values are in no key, no record and no log: they are for
    what says where from, and with what rights, to fetch bytes that a digest pins, and for nothing that changes an output. ``varies``
    says that it is known to make other bytes each time, so that a lock pins them.
    """

    mnemonic: str
    run: str
    inputs: Mapping[str, Artifact]
    outputs: Mapping[str, Artifact]
    params: Mapping[str, Value] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    requires: Mapping[str, str] = field(default_factory=dict)
    warm_up: WarmUp | None = LIGHT
    previous: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    varies: bool = False
