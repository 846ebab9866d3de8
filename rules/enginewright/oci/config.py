"""Image configurations: what is declared of an image, on top of what its base says.

OCI image-spec, config.md (https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md). Values of the base are kept or replaced
as a Dockerfile's are (https://docs.docker.com/reference/dockerfile/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from enginewright.oci.layout import Image


def on_base(declared: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The execution parameters (``config``) of an image that declares some, and has others from its base.

    Variables, labels and ports are added to, by name; everything else is replaced. A new entrypoint takes away the base's command, which
    was written for another.
    """
    merged = {**base, **declared}
    if "Entrypoint" in declared and "Cmd" not in declared:
        merged.pop("Cmd", None)
    for name in ("Labels", "ExposedPorts"):
        if name in declared:
            merged[name] = {**(base.get(name) or {}), **declared[name]}
    if "Env" in declared:
        merged["Env"] = [f"{name}={value}" for name, value in {**_variables(base.get("Env")), **_variables(declared["Env"])}.items()]
    # An empty entrypoint or command is declared to be without the base's.
    return {name: value for name, value in merged.items() if value not in ([], (), {}, "", None)}


def _variables(env: Iterable[str] | None) -> dict[str, str]:
    return {name: value for name, _, value in (each.partition("=") for each in env or ())}


def configuration(
    config: Mapping[str, Any], layers: Sequence[tuple[str, str]], created: int, architecture: str, base: Image | None
) -> dict[str, Any]:
    """An image configuration. ``layers`` are labels and diff_ids on top of the base's; ``created`` is in seconds since 1970."""
    date = datetime.fromtimestamp(created, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    below: Mapping[str, Any] = base.config if base else {"architecture": architecture, "os": "linux"}
    kept = {name: value for name, value in below.items() if name in ("architecture", "os", "os.version", "os.features", "variant")}
    return {
        **kept,
        "created": date,
        "config": on_base(config, below.get("config") or {}),
        "rootfs": {"type": "layers", "diff_ids": [*(base.diff_ids if base else ()), *(diff_id for _, diff_id in layers)]},
        "history": [*(_history(base) if base else ()), *({"created": date, "created_by": label} for label, _ in layers)],
    }


def _history(base: Image) -> list[Mapping[str, Any]]:
    """A base's history. Tools take its entries, but for those of empty layers, to be as many as there are layers; some are not."""
    history = list(base.config.get("history") or ())
    if sum(not entry.get("empty_layer") for entry in history) == len(base.diff_ids):
        return history
    return [{"created_by": "base"} for _ in base.diff_ids]
