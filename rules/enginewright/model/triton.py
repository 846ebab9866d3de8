"""A Triton model's configuration, made of what is known of an engine or an ONNX model.

The format is protobuf's text format of ``ModelConfig``: Triton Inference Server, docs/user_guide/model_configuration.md, and
common/protobuf/model_config.proto (https://github.com/triton-inference-server).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from enginewright.errors import ActionError

_TYPES = {
    "bool": "TYPE_BOOL", "uint8": "TYPE_UINT8", "uint16": "TYPE_UINT16", "uint32": "TYPE_UINT32", "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8", "int16": "TYPE_INT16", "int32": "TYPE_INT32", "int64": "TYPE_INT64", "float16": "TYPE_FP16",
    "float32": "TYPE_FP32", "float64": "TYPE_FP64", "bfloat16": "TYPE_BF16", "object": "TYPE_STRING", "str": "TYPE_STRING",
}  # fmt: skip


_TOKEN = re.compile(r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\#.*|[\[\]{}<>]|[A-Za-z_]\w*""")
_CLOSED_BY = {"{": "}", "[": "]", "<": ">"}
_REPEATED = frozenset({"input", "output", "cc_model_filenames", "instance_group"})


@dataclass(frozen=True)
class Model:
    """What a configuration says of a model.

    ``runs_with`` is its line ``platform: ...`` or ``backend: ...``; ``io`` lists tensors as a sidecar does; ``largest`` gives each
    dynamic dimension its largest size, as far as it is known; ``profiles`` is the number of its optimisation profiles.
    ``files`` maps compute capabilities, as ``8.0``, to file names, for a model that has a file for each.
    """

    name: str
    runs_with: str
    io: Sequence[Mapping[str, Any]]
    largest: Mapping[str, int]
    profiles: int = 0
    files: Mapping[str, str] | None = None


def version_of(files: Mapping[str, str]) -> int:
    """The number of a version folder that holds ``files``, names and SHA-256s: the same files, the same number.

    It has 16 digits and is less than 2**53: Triton takes any positive 64-bit number, and a client that reads JSON numbers as floats
    loses nothing of it. Triton itself compares numbers only where the version policy is "latest".
    """
    listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return 1 << 52 | int(hashlib.sha256(listed.encode()).hexdigest()[:13], 16)


def capability(arch: str) -> str:
    """An architecture as Triton writes compute capabilities: ``sm_80`` is ``8.0``."""
    number = arch.removeprefix("sm_")
    return f"{number[:-1]}.{number[-1]}"


def config(model: Model, version: int, policy: str) -> str:
    """The text of config.pbtxt; ``policy`` is ``specific``, for ``version`` and no other, or ``latest``.

    A dimension that comes first in all inputs and outputs under the same name, and whose largest size is known, is the batch: Triton
    then adds it by itself, up to ``max_batch_size``. Raises ActionError for an element type that Triton does not have.
    """
    batch = _batch(model)
    lines = [f"name: {_text(model.name)}", model.runs_with, f"max_batch_size: {model.largest[batch] if batch else 0}"]
    if policy == "specific":
        lines.append(f"version_policy: {{ specific: {{ versions: [ {version} ] }} }}")
    else:
        lines.append("version_policy: { latest: { num_versions: 1 } }")
    for capability_, file in (model.files or {}).items():
        lines.append(f"cc_model_filenames: {{ key: {_text(capability_)} value: {_text(file)} }}")
    lines += [_tensor(tensor, bool(batch), model.name) for tensor in model.io]
    if model.profiles > 1:
        named = ", ".join(f'"{number}"' for number in range(model.profiles))
        lines.append(f"instance_group: {{ kind: KIND_GPU profile: [ {named} ] }}")
    return "\n".join(lines) + "\n"


def with_more(text: str, more: bytes, where: str) -> str:
    """A configuration with what somebody else has to say of it at its end.

    Raises ActionError, beginning with ``where``, for what is no text, has brackets that do not match, or says what is said already.
    """
    try:
        added = more.decode().strip()
    except UnicodeDecodeError as error:
        raise ActionError(f"{where} is no text in UTF-8: {error.reason} (byte {error.start})") from None
    once = set(_fields(text, where)) - _REPEATED
    for name in _fields(added, where):
        if name in once:
            raise ActionError(f"{where} has {name}, which is made of the model: leave it out")
    return f"{text}{added}\n" if added else text


def _fields(text: str, where: str) -> list[str]:
    """The fields of a message in the text format (https://protobuf.dev/reference/protobuf/textformat-spec/), not those of others in it."""
    found: list[str] = []
    closing: list[str] = []
    for token in _TOKEN.findall(text):
        if token in _CLOSED_BY:
            closing.append(_CLOSED_BY[token])
        elif token in _CLOSED_BY.values():
            if not closing or closing.pop() != token:
                raise ActionError(f"{where}: its brackets do not match, at {token!r}")
        elif token[0] not in "\"'#" and not closing:
            found.append(token)
    if closing:
        raise ActionError(f"{where}: its brackets do not match: {closing[-1]!r} is missing")
    return found


def _batch(model: Model) -> str:
    """The name of the dimension that is the batch; empty when there is none."""
    first = {tensor["shape"][0] if tensor["shape"] else "" for tensor in model.io}
    (name,) = first if len(first) == 1 else ("",)
    return name if isinstance(name, str) and name in model.largest else ""


def _tensor(tensor: Mapping[str, Any], batched: bool, model: str) -> str:
    if tensor["dtype"] not in _TYPES:
        raise ActionError(f"{model}: {tensor['mode']} {tensor['name']} is of type {tensor['dtype']}, which Triton does not have")
    dims = [str(dim) if isinstance(dim, int) else "-1" for dim in tensor["shape"][batched:]]
    # Triton has no tensor without dimensions: it takes one of one element, and drops that dimension again.
    shape = f"dims: [ {', '.join(dims)} ]" if dims else "dims: [ 1 ] reshape: { shape: [ ] }"
    return f"{tensor['mode']}: {{ name: {_text(tensor['name'])} data_type: {_TYPES[tensor['dtype']]} {shape} }}"


def _text(value: str) -> str:
    """A string literal of the text format. Bytes beyond printable ASCII are escaped, in octal."""
    escaped = "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in value.encode())
    return f'"{escaped}"'
