"""python_action(): a function of the package's own, as an action. The rule for what no other rule does."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from enginewright.errors import ActionError
from enginewright.graph.action import Action, Artifact, Value
from enginewright.graph.attributes import AttributeProblem, Function, Source, did_you_mean
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule, declaration
from enginewright.model.user_code import explain, load_function

_REQUIREMENTS = {"cpu": r"[1-9]\d*", "memory": r"\d+(\.\d+)?([KMGT]i?)?B?", "gpu": r"sm_\d+", "network": "yes"}
_DEPTH, _BITS = 100, 10_000
"""Of parameters: what Python can write as JSON, and read again."""
_AS_IN = "{'cpu': '4', 'memory': '6GB', 'gpu': 'sm_90', 'network': 'yes'}"


@dataclass(frozen=True, kw_only=True)
class PythonAction(Rule):
    """Files made by ``function``, as ``FILE.py:FUNCTION``, called as ``function(inputs, outputs, params)``.

    ``inputs`` maps names to files of the package or labels, ``outputs`` names to file names; the function gets both with a
    `pathlib.Path` for each name (``name.output`` for each output of a target that has several), and writes every output.
    Outputs lie below ``build/PACKAGE/NAME/``. ``params`` are plain values; ``srcs`` are the files that FILE.py imports, and
    ``packages`` the distributions it imports. ``requires`` are execution requirements, as ``{"memory": "6GB"}``: ``cpu``,
    ``memory``, ``gpu`` (an architecture) and ``network`` (``"yes"``), and ``platform.NAME`` for a platform property of a remote executor's.
    """

    kind: ClassVar[str] = "python_action"

    function: Annotated[str, Function()]
    inputs: Mapping[str, Label | Annotated[str, Source()]] = field(default_factory=dict)
    outputs: Mapping[str, str]
    params: Mapping[str, Any] = field(default_factory=dict)
    srcs: tuple[Annotated[str, Source()], ...] = ()
    packages: tuple[str, ...] = ()
    requires: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        if not self.outputs:
            raise AttributeProblem("outputs", "expected at least one, as {'report': 'report.json'}")
        for name, file in self.outputs.items():
            if not file or file.startswith("/") or {"", ".", ".."} & set(file.split("/")):
                raise AttributeProblem(f"outputs[{name!r}]", f"expected a relative path, as 'report.json', got {file!r}")
            if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", file):
                raise AttributeProblem(f"outputs[{name!r}]", f"{file!r} has a character that no file name should have")
            if len(max(file.encode().split(b"/"), key=len)) > 255:
                raise AttributeProblem(f"outputs[{name!r}]", f"{file!r} is too long for a file name, which has 255 bytes at most")
            if list(self.outputs.values()).count(file) > 1:
                raise AttributeProblem(f"outputs[{name!r}]", f"{file!r} is given twice")
        for name, value in self.requires.items():
            if name.startswith("platform.") and value:
                continue
            if name not in _REQUIREMENTS:
                raise AttributeProblem("requires", f"unknown execution requirement {name!r}{did_you_mean(name, _REQUIREMENTS)}")
            if not re.fullmatch(_REQUIREMENTS[name], value):
                raise AttributeProblem(f"requires[{name!r}]", f"{value!r} makes no sense: write it as in {_AS_IN}")
        for name, value in self.params.items():
            _check_plain(value, f"params[{name!r}]")

    def provided(self) -> Mapping[str, str]:
        return {name: f"/{file}" for name, file in self.outputs.items()}

    def action(self, context: Context) -> Action:
        file, _, function = self.function.partition(":")
        inputs: dict[str, Artifact] = {}
        for name, each in self.inputs.items():
            if not isinstance(each, Label):
                inputs[f"input/{name}"] = context.source(each)
                continue
            made = context.outputs(each)
            if not made:
                raise AttributeProblem(f"inputs[{name!r}]", f"{each} makes no file")
            for output, artifact in made.items():
                inputs[f"input/{name}" if len(made) == 1 else f"input/{name}.{output}"] = artifact
        return Action(
            mnemonic="PythonAction",
            run="enginewright.rules.python_action:call",
            inputs={**inputs, "function": context.source(file), **{f"srcs/{path}": context.source(path) for path in self.srcs}},
            outputs={name: context.output(suffix) for name, suffix in self.provided().items()},
            params={"function": function, "params": self.params},
            packages=self.packages,
            requires=self.requires,
        )


python_action = declaration(PythonAction)


def call(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Call the user's function. Raises ActionError with the user's own file and line where it failed."""
    source = inputs["function"]
    function = load_function(source, params["function"])
    given = {name.removeprefix("input/"): path for name, path in inputs.items() if name.startswith("input/")}
    try:
        function(given, dict(outputs), params["params"])
    except ActionError:
        raise
    except Exception as error:
        raise ActionError(explain(error, source, f"{params['function']}() failed")) from error


def _check_plain(value: Value, where: str, depth: int = 0) -> None:
    if depth > _DEPTH:
        raise AttributeProblem(where.partition("[")[0], f"is nested more than {_DEPTH} levels deep")
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _check_plain(item, f"{where}[{i}]", depth + 1)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise AttributeProblem(where, f"expected strings as keys, got {key!r}")
            _check_plain(item, f"{where}[{key!r}]", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise AttributeProblem(where, f"expected a finite number, got {value!r}: write it as a string")
    elif isinstance(value, int) and value.bit_length() > _BITS:
        raise AttributeProblem(where, f"is an integer of {value.bit_length()} bits, of which {_BITS} are possible: write it to a file")
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        raise AttributeProblem(where, f"expected a plain value (None, bool, number, string, list or dict of these), got {value!r}")
