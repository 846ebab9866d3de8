"""``doit diff``: which layers and files of two images differ, and what a node that has one must pull for the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.image_facts import MADE_ELSEWHERE, shortened
from enginewright.doit_plugin.images import REGISTRY_OPTIONS, Opened, is_layout, is_reference, open_one
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.session import user_errors
from enginewright.doit_plugin.units import printable, show_size
from enginewright.errors import ActionError
from enginewright.oci.contents import in_text
from enginewright.oci.difference import Change, LayerChange, blobs, changes, layer_changes, settings, to_pull
from enginewright.oci.listing import MARKS, Entry, merged

Facts = Mapping[str, Any]

_OPT_LAYERS = option("layers", False, "compare layers and configurations only: no layer is read, or fetched from a registry")

DIFFERENT = 1
"""The exit code for images that differ, as diff(1) has it."""


class DiffCommand(Command):
    """Compares two images. Changes nothing, and builds nothing."""

    name = "diff"
    doc_purpose = "say how two images differ: layers, files, and the bytes to pull"
    doc_usage = "A B    (each LABEL | LAYOUT | REGISTRY/NAME:TAG)"
    doc_description = (
        "Says which layers are in one image only, which files in these differ and which targets they are from, what the configurations say"
        " differently, and how many bytes a node that has A must pull for B. Layers that both images have are not read; others that are"
        " not on this machine are read from their registry. Exit codes: 0 the images are the same, 1 they differ, 3 an error."
    )
    cmd_options = (_OPT_LAYERS, *REGISTRY_OPTIONS, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Compare the two images in ``args``."""
        if len(args) != 2:
            raise InvalidCommand("doit diff takes two images, as in: doit diff images/minilm:image 127.0.0.1:5000/minilm:v1")
        if not all(is_layout(text) or is_reference(text) for text in args):
            self.loader.setup(params)
        try:
            with user_errors():
                before, after = (open_one(text, params) for text in args)
                facts = _compare(before, after, params["layers"])
        except ActionError as error:
            raise InvalidCommand(str(error)) from None
        if params["json"]:
            print(json.dumps(facts, indent=1))
        else:
            print(*map(printable, _lines(facts, args)), sep="\n")
        return DIFFERENT if before.image.descriptor.digest != after.image.descriptor.digest else 0


def _compare(before: Opened, after: Opened, layers_only: bool) -> Facts:
    layers = layer_changes(before.image, after.image)
    needed = to_pull(before.image, after.image)
    return {
        "before": _of_image(before),
        "after": _of_image(after),
        "layers": [_of_layer(change, before, after) for change in layers],
        "files": None if layers_only else [_of_change(change, before, after) for change in _changed_files(layers, before, after)],
        "config": {name: {"before": old, "after": new} for name, (old, new) in settings(before.image, after.image).items()},
        "pull": {
            "bytes": sum(blob.size for blob in needed),
            "of": sum(blob.size for blob in blobs(after.image)),
            "blobs": [blob.to_json() for blob in needed],
        },
    }


def _changed_files(layers: list[LayerChange], before: Opened, after: Opened) -> Iterator[Change]:
    """The paths that differ, as the layers show them that only one of the images has."""
    shown = []
    for opened, numbers in (
        (before, [change.before for change in layers if change.kind == "removed"]),
        (after, [change.after for change in layers if change.kind == "added"]),
    ):
        unshared = sorted(number for number in numbers if number is not None)
        found = merged((opened.list(opened.layers[number]).entries for number in unshared), marks=True)
        shown.append({path: (entry, unshared[place]) for path, (entry, place) in found.items()})
    return changes(*shown)


def _of_image(opened: Opened) -> Facts:
    return {"where": opened.where, "manifest": opened.image.descriptor.digest, "platform": in_text(opened.image.platform)}


def _of_layer(change: LayerChange, before: Opened, after: Opened) -> Facts:
    image, number = (after.image, change.after) if change.after is not None else (before.image, change.before)
    assert number is not None
    layer = image.layers[number]
    return {"change": change.kind, "digest": layer.digest, "size": layer.size, "created_by": image.made_by[number]}


def _of_change(change: Change, before: Opened, after: Opened) -> Facts:
    sides = {"before": (change.before, before), "after": (change.after, after)}
    return {"path": change.path, "change": change.kind, **{name: _of_side(found, opened) for name, (found, opened) in sides.items()}}


def _of_side(found: tuple[Entry, int] | None, opened: Opened) -> Facts | None:
    if found is None:
        return None
    entry, number = found
    return {
        "kind": entry.kind, "size": entry.size, "mode": f"{entry.mode:04o}", "owner": f"{entry.uid}:{entry.gid}", "target": entry.target,
        "layer": opened.image.layers[number].digest, "created_by": opened.image.made_by[number],
    }  # fmt: skip


_SIGNS = {"same": "=", "repacked": "~", "added": "+", "removed": "-", "changed": "~"}


def _lines(facts: Facts, names: list[str]) -> Iterator[str]:
    for name, side in zip(names, ("before", "after")):
        yield f"{_SIGNS['removed' if side == 'before' else 'added']} {name}: {facts[side]['manifest']}"
    if facts["before"]["manifest"] == facts["after"]["manifest"]:
        yield "the images are the same"
        return
    yield "layers"
    for layer in facts["layers"]:
        made_by = shortened(layer["created_by"]) or MADE_ELSEWHERE
        yield f"  {_SIGNS[layer['change']]} {layer['digest']}  {show_size(layer['size'])}  {made_by}"
    if facts["files"]:
        yield "files"
    for file in facts["files"] or ():
        yield f"  {_SIGNS[file['change']]} {file['path']}  {_difference(file)}"
    if facts["config"]:
        yield "configuration"
    for name, values in facts["config"].items():
        for sign, value in (("-", values["before"]), ("+", values["after"])):
            if value is not None:
                yield f"  {sign} {name} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
    pull = facts["pull"]
    yield f"to pull: {show_size(pull['bytes'])} of {show_size(pull['of'])}, by a node that has {names[0]}"


def _difference(file: Facts) -> str:
    """What is different of a path, and the targets whose layers it is in."""
    before, after = file["before"], file["after"]
    where = " -> ".join(dict.fromkeys(shortened(side["created_by"]) for side in (before, after) if side))
    if before is None or after is None or file["change"] != "changed":
        side = before or after if file["change"] == "removed" else after or before
        return f"{_what(side, file['change'])}  {where}".rstrip()
    told = [f"{before[name]} -> {after[name]}" for name in ("kind", "mode", "owner", "target") if before[name] != after[name]]
    if before["size"] != after["size"]:
        told.append(f"{show_size(before['size'])} -> {show_size(after['size'])}")
    told = told or [f"other bytes, {show_size(after['size'])}"]
    return f"{', '.join(told)}  {where}".rstrip()


def _what(side: Facts, change: str) -> str:
    """What one image alone has of a path, or hides."""
    if side["kind"] in MARKS:
        deleted = "deleted" if side["kind"] == "deletion" else "all that was in it deleted"
        return deleted if change == "removed" else f"no longer {deleted}"
    return show_size(side["size"]) if side["kind"] == "file" else str(side["kind"])
