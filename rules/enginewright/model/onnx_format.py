"""Reading ONNX files with clear errors, and writing them in one canonical form.

The format is `onnx.proto <https://github.com/onnx/onnx/blob/main/docs/IR.md>`_. Canonical bytes leave out all that has no part
in what the model computes, most of all the source lines that PyTorch's exporter records, so that a comment added to a model's
code changes nothing downstream.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginewright.errors import ActionError

if TYPE_CHECKING:
    import onnx

# IR.md, "Optional Metadata", and the inner shapes that inference finds again.
_NOTES = frozenset({"metadata_props", "doc_string", "value_info"})
# Who made the model. A "domain" further down is no note: it is part of an operator's name.
_ORIGIN = ("producer_name", "producer_version", "domain", "model_version")

_OTHER_FORMATS = {b"PK\x03\x04": "a PyTorch checkpoint (or another zip archive)", b"\x80": "a pickle, as torch.save wrote before torch 1.6"}


def read_model(path: Path) -> onnx.ModelProto:
    """The ONNX model in the file ``path``, checked. Raises ActionError for anything else."""
    model = parse_model(path)
    check_model(model, path.name)
    return model


def parse_model(path: Path) -> onnx.ModelProto:
    """The ONNX model in the file ``path``, without weights that lie in another. Raises ActionError for what cannot be one."""
    import onnx
    from google.protobuf.message import DecodeError

    content = path.read_bytes()
    if not content:
        raise ActionError(f"{path.name} is empty, not an ONNX model: build it again, or fetch it again")
    for magic, found in _OTHER_FORMATS.items():
        if content.startswith(magic):
            raise ActionError(f"{path.name} is {found}, not an ONNX model. Export it first: onnx_model(name=..., checkpoint=...)")
    if content[8:9] == b"{":
        raise ActionError(f"{path.name} is a safetensors file, not an ONNX model. Export it first: onnx_model(name=..., checkpoint=...)")
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise ActionError(
            f"{path.name} is not an ONNX model, or a truncated one: it does not parse. Build it again, or fetch it again"
        ) from None
    if not model.graph.output:  # some texts parse, too
        raise ActionError(f"{path.name} is not an ONNX model: it has no outputs. Build it again, or fetch it again")
    return model


def check_model(model: onnx.ModelProto, name: str) -> None:
    """Run ONNX's own checker and its strict shape inference over ``model``, called ``name`` in the ActionError raised."""
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ActionError(f"{name} is not a valid ONNX model: {str(error).strip()}") from None


def canonical_bytes(model: onnx.ModelProto) -> bytes:
    """``model`` without its notes, which are cleared in place, serialised so that equal models give equal bytes."""
    for field in _ORIGIN:
        model.ClearField(field)
    _clear_notes(model)
    return bytes(model.SerializeToString(deterministic=True))


def _clear_notes(message: Any) -> None:
    for field, value in message.ListFields():
        if field.name in _NOTES:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                _clear_notes(part)
