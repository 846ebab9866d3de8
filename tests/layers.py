"""Parameters of layers, for tests that call what a rule's action runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def layer_params(files: Mapping[str, str], **others: Any) -> dict[str, Any]:
    """Those of `enginewright.rules.layer.write_layer`, with nothing but ``files`` unless ``others`` say more."""
    nothing: dict[str, Any] = {"links": {}, "folders": [], "deletes": [], "owners": {}, "modes": {}}
    return {"files": files, **nothing, "compression": "none", "mtime": 0, **others}
