"""python_layer(): pinned Python distributions as one layer of an image, a virtual environment."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from enginewright.graph.action import NETWORK_VARIABLES, Action
from enginewright.graph.attributes import AttributeProblem, Needs, Source
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Lookup, Rule, declaration
from enginewright.oci.layer import write_layer
from enginewright.oci.members import gather
from enginewright.rules.layering import LayerRule, is_image_path
from enginewright.wheel.environment import make_environment
from enginewright.wheel.fetch import VARIABLES
from enginewright.wheel.target import PLATFORM, PYTHON, Target

_SHEBANG = re.compile(r"[\w/.+-]+")
"""What the first line of a script can say."""


@dataclass(frozen=True, kw_only=True)
class PythonWheels(Rule):
    """The wheels that ``requirements`` pin, as files. python_layer() declares it as NAME.wheels."""

    kind: ClassVar[str] = "python_wheels"
    provides: ClassVar[Mapping[str, str]] = {"wheels": ""}

    requirements: Annotated[str, Source()]
    python: str
    platform: str

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="PythonWheels",
            run="enginewright.wheel.fetch:fetch",
            inputs={"requirements": context.source(self.requirements)},
            outputs={"wheels": context.output("", tree=True)},
            params={"python": self.python, "platform": self.platform},
            packages=("packaging", "pip"),
            requires={"network": "yes"},
            environment=(*NETWORK_VARIABLES, *VARIABLES),
        )


@dataclass(frozen=True, kw_only=True)
class PythonLayer(LayerRule):
    """A layer with a virtual environment at ``prefix``, in which the distributions of the file ``requirements`` are installed.

    Each is pinned there to a version and a SHA-256, dependencies too: `uv pip compile --generate-hashes` writes such a file. They are
    for CPython ``python`` (as ``"3.11"``) on ``platform``, Linux with a glibc not older than it names; of both wheels only are
    taken, never source distributions. Target NAME.wheels fetches them once; nothing else needs the network.

    ``interpreter`` is the image's Python, of a layer below. Run ``PREFIX/bin/python`` or a script beside it; nothing need be activated.
    """

    kind: ClassVar[str] = "python_layer"

    requirements: Annotated[str, Source()]
    python: str
    platform: str = "manylinux_2_28_x86_64"
    prefix: str = "/opt/venv"
    interpreter: str = ""

    def check(self) -> None:
        super().check()
        if not PYTHON.fullmatch(self.python):
            raise AttributeProblem("python", f"expected a version of CPython, as '3.11', got {self.python!r}")
        if not PLATFORM.fullmatch(self.platform):
            raise AttributeProblem("platform", f"expected a platform as wheels have it, as 'manylinux_2_28_x86_64', got {self.platform!r}")
        for attribute, path in (("prefix", self.prefix), ("interpreter", self.interpreter or "/usr")):
            if not is_image_path(path) or not _SHEBANG.fullmatch(path):
                raise AttributeProblem(attribute, f"expected an absolute path in the image, as '/opt/venv', got {path!r}")

    def expand(self, package: str, lookup: Lookup) -> Iterator[Rule]:
        wheels = f"{self.name}.wheels"
        yield PythonWheels(name=wheels, requirements=self.requirements, python=self.python, platform=self.platform)
        yield _Environment(
            name=self.name, wheels=Label(package, wheels), python=self.python, platform=self.platform, prefix=self.prefix,
            interpreter=self.interpreter or f"/usr/bin/python{self.python}", compression=self.compression, mtime=self.mtime,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Environment(LayerRule):
    """What python_layer() makes of its wheels."""

    kind: ClassVar[str] = "python_layer"

    wheels: Annotated[Label, Needs("wheels")]
    python: str
    platform: str
    prefix: str
    interpreter: str

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="PythonLayer",
            run="enginewright.rules.python_layer:install",
            inputs={"wheels": context.input(self.wheels, "wheels")},
            outputs=self.layer_outputs(context),
            params={
                "python": self.python,
                "platform": self.platform,
                "prefix": self.prefix,
                "interpreter": self.interpreter,
                **self.layer_params(context),
            },
            packages=("installer", "packaging", *self.layer_packages(context)),
        )


python_layer = declaration(PythonLayer)


def install(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write the layer. Raises ActionError as `make_environment` does."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        target = Target(params["python"], params["platform"])
        links = make_environment(inputs["wheels"].iterdir(), place, params["prefix"], params["interpreter"], target)
        write_layer(outputs, gather({"/": place}, links), params["compression"], params["mtime"])
