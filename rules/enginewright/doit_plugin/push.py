"""``doit push``: build images, and bring them into a registry."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.build import OPT_COMPRESSION, choose_compression
from enginewright.doit_plugin.built import bring_up_to_date, outputs_of
from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.pushed import Places
from enginewright.doit_plugin.session import user_errors
from enginewright.doit_plugin.transfers import TRANSFER_OPTIONS, Transfers, check_transfer_options
from enginewright.doit_plugin.units import show_size
from enginewright.errors import ActionError
from enginewright.graph.label import Label
from enginewright.oci.push import Pushed, push
from enginewright.oci.registry.reference import Reference

_OPT_TO = option(
    "to",
    [],
    "where: REGISTRY/NAME:TAG (tag: latest, if left out), in which {package} and {name} stand for those of the label;"
    " may be given several times",
)
_OPT_MOUNT_FROM = option(
    "mount-from", "", "a repository of the same registry, as team/base, that has some of the blobs already: they are not sent again"
)


class PushCommand(Command):
    """Builds what is selected, and pushes what is not there yet."""

    name = "push"
    doc_purpose = "build images and push them to a registry: only blobs that it lacks"
    doc_usage = "LABEL | PACKAGE | PACKAGE/... --to REGISTRY/NAME:TAG"
    doc_description = (
        "Builds the images that are named (bases only by their labels), then asks the registry for each manifest, and sends "
        "nothing where it is the same. Blobs that another repository of the registry has are mounted. Logins are those of "
        "`docker login`. Exit codes: 0 all is there, 1 something could not be built or pushed, 3 an error before anything ran."
    )
    execute_tasks = True
    cmd_options = (_OPT_TO, _OPT_MOUNT_FROM, OPT_COMPRESSION, *TRANSFER_OPTIONS, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Push the images that ``args`` select."""
        if not args or not params["to"]:
            raise InvalidCommand("doit push: say what and where, as in: doit push images/minilm:image --to ghcr.io/team/minilm:1.0")
        ca = check_transfer_options(params, "push")
        check_templates(params["to"])
        check_repository(params["mount_from"])
        self.load_settings(params)
        choose_compression(params)
        layouts = outputs_of(args, ("layout",), "image: name an image(), image_index() or oci_base()", by_label=("base",))
        jobs = destinations(list(layouts), params["to"])
        if code := bring_up_to_date(layouts):
            return code
        from enginewright.oci.registry.client import Client
        from enginewright.oci.registry.transport import Access

        done: list[dict[str, Any]] = []
        try:
            with user_errors(), closing(Transfers(sys.stderr)) as shown:
                client = Client(Access(params["plain_http"], ca), shown.note)
                places = Places(Path.cwd())
                for label, to in jobs:
                    started = time.monotonic()
                    mounts = partial(mount_from, places, to, params["mount_from"])
                    pushed = push(client, layouts[label], to, mounts, shown.watch, params["jobs"])
                    shown.close()
                    places.add(to, pushed.outcomes)
                    done.append(_as_json(label, pushed, time.monotonic() - started))
                    if not params["json"]:
                        print(_summary(label, pushed), flush=True)
        except ActionError as error:
            print(f"ERROR: {error}", file=sys.stderr)
            code = 1
        if params["json"]:
            print(json.dumps({"images": done, "sent": sum(each["sent"] for each in done)}, indent=1))
        return code


def destinations(labels: Sequence[Label], templates: Sequence[str]) -> list[tuple[Label, Reference]]:
    """Where each image goes. Raises doit's InvalidCommand for what is no reference, and where two images would get the same one."""
    found: dict[Reference, Label] = {}
    for template in templates:
        for label in labels:
            text = template.replace("{package}", label.package).replace("{name}", label.name)
            try:
                to = Reference.parse(text)
            except ValueError as error:
                raise InvalidCommand(f"--to {template}: {error}") from None
            if to.digest:
                raise InvalidCommand(f"--to {template}: an image is pushed to a tag; its digest follows from its bytes")
            if found.setdefault(to, label) != label:
                raise InvalidCommand(
                    f"--to {template}: {found[to]} and {label} would both be {to}: write {{package}} and {{name}}, which stand for theirs"
                )
    return [(label, to) for to, label in found.items()]


def check_templates(templates: Sequence[str]) -> None:
    """Raise doit's InvalidCommand for words in braces that stand for nothing."""
    for template in templates:
        for name in re.findall(r"\{([^}]*)\}", template):
            if name not in ("package", "name"):
                raise InvalidCommand(f"--to {template}: {{{name}}} stands for nothing; there are {{package}} and {{name}}")


def check_repository(name: str) -> None:
    """Raise doit's InvalidCommand for what --mount-from cannot name."""
    try:
        whole = not name or Reference.parse(f"localhost/{name}").repository == name
    except ValueError:
        whole = False
    if not whole:
        raise InvalidCommand(f"--mount-from {name}: expected a repository without a registry and a tag, as team/base")


def mount_from(places: Places, to: Reference, named: str, digest: str) -> str | None:
    """The repository that has a blob already, so far as is known; the one that was ``named`` where nothing is."""
    other = places.known(to, digest) or named
    return other if other and other != to.repository else None


def _as_json(label: Label, pushed: Pushed, seconds: float) -> dict[str, Any]:
    return {
        "label": str(label),
        "reference": str(pushed.reference),
        "digest": pushed.digest,
        "unchanged": pushed.unchanged,
        "sent": pushed.sent,
        "blobs": pushed.outcomes,
        "seconds": round(seconds, 3),
    }


def _summary(label: Label, pushed: Pushed) -> str:
    counts = Counter(pushed.outcomes.values())
    words = [f"{count} {outcome}" for outcome, count in sorted(counts.items())]
    what = "unchanged, nothing sent" if pushed.unchanged else f"blobs: {', '.join(words)}; {show_size(pushed.sent)} sent"
    return f"{label} is {pushed.reference.name}:{pushed.reference.selector}@{pushed.digest} ({what})"
