"""What ``doit inspect`` says of images and of layers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from enginewright.doit_plugin.images import Opened
from enginewright.doit_plugin.units import show_size
from enginewright.errors import ActionError
from enginewright.oci.contents import in_text
from enginewright.oci.layer import Layer, read_layer
from enginewright.oci.listing import Entry, Listing, list_layer
from enginewright.oci.media import BASE_DIGEST, BASE_NAME
from enginewright.oci.registry.streams import Checked

Facts = Mapping[str, Any]

MADE_ELSEWHERE = "made elsewhere"
_LONGEST = 100
"""How many characters are shown of what made a layer, at most."""

_MOST = 8
"""How many lines tell of what is in a layer, at most."""


def of_image(opened: Opened, fetch: bool) -> Facts:
    """The facts of an image: its layers are listed where they are here, or, with ``fetch``, wherever they are."""
    image = opened.image
    annotations = image.manifest.get("annotations") or {}
    return {
        "manifest": image.descriptor.digest,
        "platform": in_text(image.platform),
        "created": image.config.get("created"),
        "config": image.config.get("config") or {},
        "annotations": annotations,
        "base": {"name": annotations.get(BASE_NAME, ""), "digest": annotations[BASE_DIGEST]} if BASE_DIGEST in annotations else None,
        "layers": [_of_layer_in(opened, layer, made_by, fetch) for layer, made_by in zip(opened.layers, image.made_by)],
    }


def of_layer(blob: Path, descriptor: Path) -> Facts:
    """The facts of a layer by itself."""
    layer = read_layer(descriptor)

    def listing() -> Listing:
        with Checked(blob.open("rb"), layer.descriptor, str(blob)) as stream:
            return list_layer(stream, layer, str(blob))

    return _of_layer(layer, {}, listing)


def _of_layer_in(opened: Opened, layer: Layer, made_by: str, fetch: bool) -> Facts:
    here = opened.here(layer.descriptor)
    provenance = {"created_by": made_by, "from": "" if here else opened.elsewhere}
    # One that nobody is known to have is missed, and is not just elsewhere.
    return _of_layer(layer, provenance, (lambda: opened.list(layer)) if here or fetch or not opened.elsewhere else None)


def _of_layer(layer: Layer, provenance: Facts, listing: Callable[[], Listing] | None) -> Facts:
    """The facts of a layer, and what is in it; nothing is known of that without ``listing``."""
    found, damage = None, ""
    if listing is not None:
        try:
            found = listing()
        except ActionError as error:
            damage = str(error)
    return {
        "digest": layer.descriptor.digest,
        "size": layer.descriptor.size,
        "media_type": layer.descriptor.media_type,
        "diff_id": layer.diff_id,
        **provenance,
        "damage": damage,
        "problems": [] if found is None else found.problems,
        "files": None if found is None else [_of_entry(entry) for entry in found.entries],
    }


def _of_entry(entry: Entry) -> Facts:
    facts: dict[str, Any] = {"path": entry.path, "kind": entry.kind}
    if entry.kind not in ("deletion", "opaque"):
        facts |= {"mode": f"{entry.mode:04o}", "owner": f"{entry.uid}:{entry.gid}"}
    if entry.kind == "file":
        facts["size"] = entry.size
    if entry.target:
        facts["target"] = entry.target
    return facts


def show_image(facts: Facts) -> Iterator[str]:
    """The lines for people, the first to follow a name."""
    sizes = [layer["size"] for layer in facts["layers"]]
    yield f"image for {facts['platform']}, {len(sizes)} layer{'s' * (len(sizes) != 1)}, {show_size(sum(sizes))}"
    yield f"  layout     {facts['file']}"
    yield f"  manifest   {facts['manifest']}"
    if facts["base"]:
        yield f"  base       {facts['base']['name'] or facts['base']['digest']}"
    for name, value in facts["config"].items():
        yield f"  config     {name} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
    for layer in facts["layers"]:
        where = f", not here but in {layer['from']}" if layer["from"] else ""
        yield f"  layer      {layer['digest']}, {show_size(layer['size'])}, {shortened(layer['created_by']) or MADE_ELSEWHERE}{where}"
        yield from show_files(layer["files"])
    yield f"  whole      {_wholeness(facts['layers'])}"


def shortened(created_by: str) -> str:
    """What made a layer, on one line: of commands, which may be whole scripts, the beginning."""
    text = " ".join(created_by.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _wholeness(layers: Iterable[Facts]) -> str:
    wrong = [problem for layer in layers for problem in ([layer["damage"]] if layer["damage"] else layer["problems"])]
    if wrong:
        return f"no: {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else "")
    unread = sum(layer["files"] is None for layer in layers)
    return f"yes, but for {unread} layer{'s' * (unread != 1)} that {'is' if unread == 1 else 'are'} not here" if unread else "yes"


def show_files(files: list[Facts] | None) -> Iterator[str]:
    """What a layer holds, in a few lines."""
    for group in _groups(files or []):
        size = show_size(group.size) if group.size else ""
        yield f"    {group.path}{f'  {group.files} files' if group.files > 1 else ''}{f'  {size}' if size else ''}{group.what}"


class _Group(NamedTuple):
    path: str
    files: int
    size: int
    what: str


def _groups(files: list[Facts]) -> list[_Group]:
    """The contents of a layer as at most `_MOST` paths: the largest folders are taken apart as far as that goes."""
    parents = {each["path"].rpartition("/")[0] for each in files}
    whole = [each for each in files if each["kind"] != "folder" or each["path"] not in parents]
    parts: dict[str, list[Facts]] = {"/": whole} if whole else {}
    finished: set[str] = set()
    while open_parts := [path for path in parts if path.endswith("/") and path not in finished]:
        largest = max(open_parts, key=lambda path: (sum(each.get("size", 0) for each in parts[path]), len(parts[path])))
        inside: dict[str, list[Facts]] = {}
        for each in parts[largest]:
            name, slash, _ = each["path"][len(largest) :].partition("/")
            inside.setdefault(largest + name + slash, []).append(each)
        if len(parts) - 1 + len(inside) > _MOST or largest in inside:
            finished.add(largest)
        else:
            del parts[largest]
            parts |= inside
    return [_group(path, each) for path, each in sorted(parts.items())]


def _group(path: str, files: list[Facts]) -> _Group:
    (first, *more) = files
    target = f" to {first['target']}" if "target" in first else ""
    what = "" if more or first["kind"] == "file" else f"  {first['kind']}{target}"
    return _Group(path, len(files), sum(each.get("size", 0) for each in files), what)


def show_layer(facts: Facts) -> Iterator[str]:
    """The lines for people, the first to follow a name."""
    yield f"layer, {show_size(facts['size'])}, {facts['media_type'].rpartition('.')[2]}"
    yield f"  file       {facts['file']}"
    yield f"  digest     {facts['digest']}"
    if facts["diff_id"] != facts["digest"]:
        yield f"  diff_id    {facts['diff_id']}"
    yield from show_files(facts["files"])
    yield f"  whole      {_wholeness([facts])}"
