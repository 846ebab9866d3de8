"""checkpoint(): a model's weights, checked and brought into one canonical form.

The output is a safetensors file (https://huggingface.co/docs/safetensors, "Format") without metadata, every tensor
contiguous and with its own bytes. The same tensors give the same file, however they were saved.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from enginewright.errors import ActionError, with_article
from enginewright.graph.action import Action, WarmUp
from enginewright.graph.attributes import Source
from enginewright.graph.rule import Context, Rule, declaration
from enginewright.model.pin import check_pin, verify_pin

if TYPE_CHECKING:
    import torch


_PACKAGES = ("torch", "safetensors", "numpy")


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Rule):
    """The weights in the file ``src``: a .safetensors file, or what ``torch.save`` wrote of a state dict.

    ``src`` is a file of the package, or ``dist://DISTRIBUTION/PATH`` for a file of an installed distribution, whose
    ``sha256`` (64 lower-case hexadecimal digits) must be given. ``key`` names the entry that holds the state dict, for files
    that wrap it, as ``{"state_dict": ..., "epoch": 7}``.
    """

    kind: ClassVar[str] = "checkpoint"
    provides: ClassVar[Mapping[str, str]] = {"checkpoint": ".safetensors"}

    src: Annotated[str, Source()]
    sha256: str | None = None
    key: str | None = None

    def check(self) -> None:
        check_pin(self.src, self.sha256)

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="Checkpoint",
            run="enginewright.rules.checkpoint:canonicalise",
            inputs={"src": context.source(self.src)},
            outputs={"checkpoint": context.output(".safetensors")},
            params={"sha256": self.sha256, "key": self.key},
            packages=_PACKAGES,
            warm_up=WarmUp("enginewright.rules.checkpoint:warm_up", _PACKAGES),
        )


checkpoint = declaration(Checkpoint)


def warm_up() -> None:
    """Import what every conversion needs."""
    import torch

    torch.set_num_threads(1)  # a pool of threads would not survive the fork


def canonicalise(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write the tensors of ``src`` as canonical safetensors. Raises ActionError where it is not a checkpoint."""
    import torch
    from safetensors.torch import save_file

    src = inputs["src"]
    verify_pin(src, params["sha256"])
    if params["sha256"] is None:
        _verify_sums(src)
    content = _state_dict(_load(src), src.name, params["key"])
    for name, value in content.items():
        if name == "__metadata__" or re.search("[\ud800-\udfff]", name):
            raise ActionError(f"{src.name}: safetensors can have no tensor of the name {name!r}: give it another")
        if value.is_meta:
            raise ActionError(f"{src.name}: the tensor {name} has no values, as those on PyTorch's device 'meta': save it with its values")
        if value.layout is not torch.strided or value.is_quantized:
            raise ActionError(f"{src.name}: the tensor {name} is sparse or quantised, which safetensors cannot hold: save it dense")
    # Tied tensors share memory, which safetensors refuses; a copy of each keeps every name that load_state_dict() will ask for.
    # It is safetensors that orders them, by alignment and then by name.
    tensors = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in content.items()}
    try:
        save_file(tensors, outputs["checkpoint"])
    except KeyError as error:  # of its table of dtypes
        name = next(name for name, value in tensors.items() if value.dtype == error.args[0])
        raise ActionError(f"{src.name}: the tensor {name} is {error.args[0]}, which safetensors cannot hold: save it as another") from None


def _verify_sums(src: Path) -> None:
    """Raise ActionError where an archive, as torch.save writes them, has other bytes than its checksums say. PyTorch reads past them."""
    damaged = None
    # Of what is no archive, or half of one, more is said when it is loaded.
    with suppress(Exception), zipfile.ZipFile(src) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ActionError(
            f"{src.name} is a damaged checkpoint: {damaged} in it is not what its checksum says: fetch it again. "
            "If it was saved without checksums, and you trust it, pin it by its sha256"
        )


def _load(src: Path) -> Any:
    """What ``src`` holds, told by its first bytes: a suffix may lie."""
    with src.open("rb") as file:
        head = file.read(16)
    if not head:
        raise ActionError(f"{src.name} is empty: fetch it again")
    # "Format": 8 bytes with the header's length, then the header, which begins with a brace.
    if head[8:9] == b"{":
        return _load_safetensors(src)
    # A zip archive, and the pickle of protocol 2 that torch.save wrote before torch 1.6.
    if head.startswith((b"PK\x03\x04", b"\x80\x02")):
        return _load_torch(src)
    if head.startswith(b"\x80"):
        raise ActionError(f"{src.name} is a Python pickle that torch.save did not write. Save its tensors with safetensors.torch.save_file")
    raise ActionError(
        f"{src.name} is not a checkpoint: it is neither a safetensors file nor one that torch.save wrote (it begins with {head!r}). "
        "Check src, and that the file is not a Git LFS pointer or a web page"
    )


def _load_safetensors(src: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(src)
    except SafetensorError as error:
        raise ActionError(f"{src.name} is a truncated or damaged safetensors file ({error}): fetch it again") from None


def _load_torch(src: Path) -> Any:
    import pickle

    import torch

    try:
        return torch.load(src, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise ActionError(
                f"{src.name} holds more than tensors: its pickle calls {refused[1]}, which could run any code, so it was not loaded. "
                "Get it as .safetensors; or, if you trust it, load it once yourself with torch.load(..., weights_only=False) and "
                "save its state dict with safetensors.torch.save_file"
            ) from None
        raise _damaged(src, error) from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        if "TorchScript" in str(error):
            raise ActionError(
                f"{src.name} is a TorchScript archive, a program and not a checkpoint. "
                "Save its tensors: safetensors.torch.save_file(torch.jit.load(...).state_dict(), 'weights.safetensors')"
            ) from None
        raise _damaged(src, error) from None


def _damaged(src: Path, error: Exception) -> ActionError:
    # PyTorch's first line advises to run whatever code is in it.
    unpickling = re.search(r"WeightsUnpickler error: \s*(.+)", str(error))
    reason = unpickling[1].strip() if unpickling else str(error).partition("\n")[0] or type(error).__name__
    return ActionError(f"{src.name} is a truncated or damaged checkpoint ({reason}): fetch it again")


def _state_dict(content: Any, name: str, key: str | None) -> Mapping[str, torch.Tensor]:
    import torch

    if key is not None:
        if not isinstance(content, Mapping) or key not in content:
            raise ActionError(f"{name} has no entry {key!r}: {_describe(content)}. Set key to the entry with the tensors, or leave it out")
        name, content = f"{name}[{key!r}]", content[key]
    if not isinstance(content, Mapping):
        raise ActionError(f"{name} holds {_describe(content)}, not a state dict (a dict from names to tensors). Save model.state_dict()")
    if not content:
        raise ActionError(f"{name} holds an empty dict: no tensors to build from")
    strays = [entry for entry, value in content.items() if not (isinstance(entry, str) and isinstance(value, torch.Tensor))]
    if strays:
        wrapped = [entry for entry in strays if isinstance(entry, str) and isinstance(content[entry], Mapping)]
        hint = f"set key={wrapped[0]!r}" if wrapped else "set key to the entry that is"
        raise ActionError(f"{name} is not a dict from names to tensors: {_describe(content)}. If one of them is the state dict, {hint}")
    return content


def _describe(content: Any) -> str:
    if not isinstance(content, Mapping):
        return with_article(type(content).__name__)
    shown = [repr(entry) for entry in list(content)[:12]]
    return f"its top-level keys are {', '.join(shown)}{', ...' if len(content) > len(shown) else ''}"
