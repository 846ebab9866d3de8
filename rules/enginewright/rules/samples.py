"""Where samples come from, as a BUILD.py declares it: the attribute, and how it is put into an action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from enginewright.graph.action import Artifact, Value
from enginewright.graph.attributes import AttributeProblem, Function, Source
from enginewright.graph.rule import Context

SampleFiles: TypeAlias = Annotated[str, Function()] | Annotated[str, Source()] | tuple[Annotated[str, Source()], ...]
"""A generator of samples, as ``FILE.py:FUNCTION``; a .npz or .npy file; or files that a function makes samples of."""

_SUFFIXES = (".npz", ".npy")


def check_samples(attribute: str, samples: SampleFiles, preprocess: str | None) -> None:
    """Raise AttributeProblem unless files that are no arrays come with a function, and arrays and generators come without."""
    if isinstance(samples, str):
        if preprocess is not None:
            raise AttributeProblem("preprocess", f"is for a list of files, and {attribute} is {samples!r}: write [{samples!r}]")
        if ":" not in samples and not samples.endswith(_SUFFIXES):
            raise AttributeProblem(
                attribute, f"{samples!r} is neither a .npz or .npy file nor FILE.py:FUNCTION; for other files, give a list, and preprocess"
            )
    elif bool(samples) != bool(preprocess):
        raise AttributeProblem(
            "preprocess", f"missing: FILE.py:FUNCTION, which makes a sample of each file of {attribute}" if samples else
            f"is given, and {attribute} has no files for it",
        )  # fmt: skip


def sample_inputs(context: Context, samples: SampleFiles, preprocess: str | None) -> Mapping[str, Artifact]:
    """The files that samples are made from, with the function's."""
    files = (samples,) if isinstance(samples, str) else samples
    function = _function(samples, preprocess)
    found = {f"samples/{i}": context.source(file) for i, file in enumerate(files) if file != function}
    return found if function is None else {**found, "samples": context.source(function.partition(":")[0])}


def sample_params(samples: SampleFiles, preprocess: str | None) -> Value:
    """What `located_samples` needs to know; None where no samples are declared."""
    function = _function(samples, preprocess)
    return {"function": function and function.partition(":")[2]} if samples else None


def located_samples(inputs: Mapping[str, Path], params: Mapping[str, Any]) -> tuple[Sequence[Path], tuple[Path, str] | None]:
    """In an action: the files and the function that `enginewright.model.samples.declared` takes."""
    numbered = sorted((int(name.partition("/")[2]), path) for name, path in inputs.items() if name.startswith("samples/"))
    return [path for _, path in numbered], (inputs["samples"], params["function"]) if params["function"] else None


def _function(samples: SampleFiles, preprocess: str | None) -> str | None:
    return samples if isinstance(samples, str) and ":" in samples and not samples.startswith("dist://") else preprocess
