"""The reference file: what a model's outputs are on its samples, computed in full precision, once, before any conversion.

An .npz file (`NEP 1 <https://numpy.org/neps/nep-0001-npy-format.html>`_) with the arrays ``N/in/INPUT`` and ``N/out/OUTPUT`` for
each sample N from 0, and ``origin``, a text that says what computed them. Its bytes depend on the arrays alone.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from enginewright.errors import ActionError
from enginewright.model.samples import Sample


class Reference(NamedTuple):
    """Samples, and for each what the outputs are, by name. ``origin`` says what computed them, as ``PyTorch 2.13.0``."""

    origin: str
    samples: Sequence[Sample]
    outputs: Sequence[Sample]


def write_reference(path: Path, reference: Reference) -> None:
    """Write a reference file. `numpy.savez` writes the same arrays with the time of day, in some versions of Python."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        arrays: dict[str, Any] = {"origin": np.array(reference.origin)}
        for number, (sample, outputs) in enumerate(zip(reference.samples, reference.outputs, strict=True)):
            arrays |= {f"{number}/in/{name}": array for name, array in sample.items()}
            arrays |= {f"{number}/out/{name}": array for name, array in outputs.items()}
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as member:
                npy.write_array(member, np.asarray(array), version=(1, 0), allow_pickle=False)


def read_reference(path: Path) -> Reference:
    """Read a reference file. Raises ActionError where it is none."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            origin = str(archive["origin"]) if "origin" in archive else path.name
            for key in archive.files:
                number, _, rest = key.partition("/")
                kind, _, name = rest.partition("/")
                if kind in ("in", "out") and name:
                    found.setdefault(int(number), {"in": {}, "out": {}})[kind][name] = archive[key]
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ActionError(f"{path.name} is not a reference: expected a .npz file ({error})") from None
    if not found or any(not each["out"] or not each["in"] for each in found.values()):
        raise ActionError(f"{path.name} is not a reference: expected arrays 0/in/INPUT, 0/out/OUTPUT, 1/in/INPUT and so on")
    numbers = sorted(found)
    return Reference(origin, [found[number]["in"] for number in numbers], [found[number]["out"] for number in numbers])
