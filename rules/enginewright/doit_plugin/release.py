"""``doit release``: an image from its lock to its signature in a registry, and what that was made of; and whether it can be made again."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.build import OPT_PROCESSES
from enginewright.doit_plugin.built import bring_up_to_date, outputs_of
from enginewright.doit_plugin.command import Command, interrupted
from enginewright.doit_plugin.lock import read_lock
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.push import destinations, mount_from
from enginewright.doit_plugin.pushed import Places
from enginewright.doit_plugin.session import foresee, open_build, user_errors
from enginewright.doit_plugin.sign import OPT_KEY, said_of
from enginewright.doit_plugin.transfers import TRANSFER_OPTIONS, Transfers, check_transfer_options
from enginewright.doit_plugin.verify import IN_PLACE, OPT_REQUIRE, summary_of, verify_selection
from enginewright.errors import ActionError, WorkspaceError, in_words
from enginewright.execute.outcome import Status
from enginewright.graph.dag import Graph
from enginewright.graph.label import Label
from enginewright.release import record
from enginewright.release.lock import FILE, Lock
from enginewright.release.pins import pins_of
from enginewright.store.files import write_atomically
from enginewright.workspace.settings import read_settings

_KINDS = ("provenance", "sbom", "scan", "sign")
"""The rules whose targets belong to a release of an image."""

_NAMED_BY = {"provenance": "subject", "sbom": "image", "scan_findings": "image", "sign": "subject"}
"""The attribute that names the image."""

_OPT_TO = option("to", "", "where: REGISTRY/NAME:TAG")
_OPT_OUTPUT = option("output", "release.json", "the file that names every digest [default: %(default)s]", "o")
_OPT_CHECK = option("check", "", "release nothing: build what this release.json is of again, and say what is identical")


@dataclass(frozen=True)
class _Release:
    """What belongs together: the image, the statements and the scans that are about it, and its sign() target, if there is one."""

    image: Label
    statements: Sequence[Label]
    scans: Sequence[Label]
    sign: Label | None


class ReleaseCommand(Command):
    """Puts the other commands in a row. Each finds done what it did before, so a release can be repeated, or go on where it broke off."""

    name = "release"
    doc_purpose = "build an image as locked, verify, scan, describe, push and sign it; or check a release by building it again"
    doc_usage = "LABEL --to REGISTRY/NAME:TAG | --check release.json"
    doc_description = (
        f"Builds the image from what {FILE} has and nothing else; builds each target that it is made of again, unless that was done before,"
        " and compares; builds the provenance(), sbom() and scan() targets that name the image, where a finding ends it; pushes; signs as a"
        " sign() target says; and writes release.json, with the SHA-256 of everything. A second time there is nothing to"
        " do. With --check, another machine builds it all again, and says what is identical. Exit codes: 0 released, or identical; 1 not;"
        " 3 an error before anything ran."
    )
    execute_tasks = True
    cmd_options = (_OPT_TO, OPT_KEY, _OPT_OUTPUT, _OPT_CHECK, OPT_REQUIRE, OPT_PROCESSES, *TRANSFER_OPTIONS, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Release the one image in ``args``, or check a release."""
        if bool(params["check"]) == bool(args or params["to"]):
            raise InvalidCommand(
                "doit release: an image and where it goes: doit release images/minilm:image --to ghcr.io/team/minilm:1.0; or --check"
            )
        if params["num_process"] < 1:
            raise InvalidCommand(f"-n {params['num_process']}: at least one action must run at a time")
        self.load_settings(params)
        try:
            return _check(params) if params["check"] else _release(params, args)
        except KeyboardInterrupt as by:
            return interrupted(by)


def _release(params: Any, args: list[str]) -> int:
    if len(args) != 1 or ":" not in args[0] or not params["to"]:
        raise InvalidCommand("doit release: one image, and where it goes: doit release images/minilm:image --to ghcr.io/team/minilm:1.0")
    root, ca = Path.cwd(), check_transfer_options(params, "release")
    layouts = outputs_of(args, ("layout",), "image: name an image() or an image_index()")
    ((label, to),) = destinations(list(layouts), [params["to"]])
    lock = read_lock(root)
    graph = open_build(root, look_only=True).graph
    release = _about(graph, label)
    key = _private_key(graph, release, params["key"])
    output = Path(params["output"])
    _check_output(output)
    for kind in _missing(graph, release):
        print(f"{label} has no {kind}(): it is released without", file=sys.stderr)
    if code := _built_and_verified(release, lock, params, again=False):
        return code
    from enginewright.attest.signature import NOTHING, sign_image
    from enginewright.oci.push import push
    from enginewright.oci.registry.client import Client
    from enginewright.oci.registry.transport import Access

    try:
        with closing(Transfers(sys.stderr)) as shown:
            client = Client(Access(params["plain_http"], ca), shown.note)
            statements = _statements(release)  # first: what does not belong together is not sent
            places = Places(root)
            pushed = push(client, layouts[label], to, partial(mount_from, places, to, ""), shown.watch, params["jobs"])
            places.add(to, pushed.outcomes)
            signed = sign_image(client.repository(to, push=True), pushed.digest, key, statements) if release.sign else NOTHING
        targets = _targets(root, release, lock)
        text = record.render(label, f"{to.name}:{to.selector}", pushed.digest, (root / FILE).read_bytes(), signed.tags, targets).encode()
        changed = not output.exists() or output.read_bytes() != text
        if changed:
            output.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(output, text)
    except (ActionError, WorkspaceError, OSError) as error:
        print(f"ERROR: {in_words(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        return 1
    done = {"sent": pushed.sent, "new_signatures": signed.new, "written": changed}
    if params["json"]:
        print(
            json.dumps(
                {"label": str(label), "reference": f"{to.name}:{to.selector}", "digest": pushed.digest, "file": params["output"], **done}
            )
        )
    else:
        nothing = "" if pushed.sent or signed.new or changed else ", as it was: there was nothing to do"
        print(f"{label} is {to.name}:{to.selector}@{pushed.digest}{nothing}\n{params['output']} names its {len(targets)} targets")
    return 0


def _check_output(path: Path) -> None:
    """Raise doit's InvalidCommand where the record could not be written in the end."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    try:
        if there == path.absolute():
            there.open("rb").close()
            there = there.parent
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise InvalidCommand(f"--output {path}: {error.strerror}: {there}") from None


def _about(graph: Graph, image: Label) -> _Release:
    """The targets that are about an image; of an index, about its images too."""
    targets = graph.targets
    images = {str(image), *(map(str, targets[image].deps) if targets[image].kind == "image_index" else ())}
    named = {label: target.attributes.get(_NAMED_BY.get(target.kind, "")) for label, target in targets.items()}
    # A scan() judges what its own first half has found in the image.
    about = [
        target
        for label, target in targets.items()
        if target.kind in _KINDS and images & {named[label], *(named[dep] for dep in target.deps if target.kind == "scan")}
    ]
    signs = [each.label for each in about if each.kind == "sign" and named[each.label] == str(image)]
    if len(signs) > 1:
        raise InvalidCommand(f"{image} is signed by {' and '.join(map(str, signs))}: one sign() can name an image that is released")
    scans = [each.label for each in about if each.kind == "scan"]
    return _Release(image, [each.label for each in about if each.kind not in ("scan", "sign")], scans, signs[0] if signs else None)


def _missing(graph: Graph, release: _Release) -> Iterator[str]:
    kinds = {graph.targets[label].kind for label in (*release.statements, *release.scans, *filter(None, [release.sign]))}
    return (kind for kind in _KINDS if kind not in kinds)


def _private_key(graph: Graph, release: _Release, given: str) -> Any:
    """The key to sign with, asked for before anything runs; None where nothing is signed."""
    if release.sign is None:
        return None
    from enginewright.attest.keys import load_private

    declared = graph.targets[release.sign].attributes["key"]
    with user_errors():
        return load_private(given or declared)


def _built_and_verified(release: _Release, lock: Lock, params: Any, again: bool) -> int:
    """Build the image as locked, verify what it is made of, and build what is said about it: its provenance tells what was found."""
    started = time.monotonic()
    options = {"num_process": params["num_process"], "locked": True, **IN_PLACE}
    if code := bring_up_to_date([release.image], **options):
        return code
    done = verify_selection([str(release.image)], params["num_process"], True, sys.stderr, pins_of(lock), again)
    print(summary_of(done, time.monotonic() - started), file=sys.stderr)
    least = params["require"]
    for label, found in done.below(least).items():
        print(f"ERROR: {label} is {found} when it is built again, and {least} is asked for: pin its bytes with doit lock", file=sys.stderr)
    if done.failed or done.below(least):
        return 1
    # What a scan finds is another thing each day, and no part of what was released.
    more = [*release.statements, *(() if again else release.scans), *filter(None, [release.sign])]
    if code := bring_up_to_date(more, **options) if more else 0:
        return code
    left_out = list(_left_out([release.image, *more], lock))
    for reason in left_out:
        print(f"ERROR: {reason}", file=sys.stderr)
    return 1 if left_out else 0


def _left_out(labels: Sequence[Label], lock: Lock) -> Iterator[str]:
    """Which of these targets, and of what they are made of, a build was content not to build, as those that `doit ignore` was told of."""
    build = open_build(Path.cwd(), look_only=True, pins=pins_of(lock))
    stale = set(foresee(build, labels))
    for label in build.graph.closure(labels):
        outcome = build.outcomes.get(label)
        if outcome is not None and outcome.status is Status.SKIPPED:
            yield f"{label} {outcome.reason}"
        elif label in stale:
            yield f"{label} is not up to date"


def _statements(release: _Release) -> Sequence[bytes]:
    """What is signed together with the image."""
    if release.sign is None:
        return ()
    build = open_build(Path.cwd(), look_only=True)
    return said_of(build, build.graph.targets[release.sign])[1]


def _targets(root: Path, release: _Release, lock: Lock) -> dict[str, Any]:
    """What the record says of everything but the scans."""
    build = open_build(root, look_only=True)
    labels = build.graph.closure([release.image, *release.statements])
    return record.targets_of(root, read_settings(root).store, build, labels, lock)


def _check(params: Any) -> int:
    root, path = Path.cwd(), Path(params["check"])
    try:
        released = record.read(path)
    except OSError as error:
        raise InvalidCommand(f"--check {path}: {error.strerror}") from None
    except ValueError as error:
        raise InvalidCommand(f"--check {path} {error}") from None
    lock = read_lock(root)
    same_lock = hashlib.sha256((root / FILE).read_bytes()).hexdigest() == released["lock"]
    if not same_lock:
        print(f"WARNING: {FILE} is not the one that {path} was released with", file=sys.stderr)
    image = Label.parse(released["label"])
    layout = outputs_of([str(image)], ("layout",), "image: this is another workspace than the release's")[image]
    release = _about(open_build(root, look_only=True).graph, image)
    if code := _built_and_verified(release, lock, params, again=True):
        return code
    from enginewright.attest.statement import image_digest

    with user_errors():
        found = _targets(root, release, lock)
    rows = dict(_compared(released["targets"], found))
    digest = image_digest(layout)
    same = digest == released["digest"] and all(status == "identical" for status in rows.values())
    if params["json"]:
        told = {"identical": same, "digest": digest, "released": released["digest"], "same_lock": same_lock, "targets": rows}
        print(json.dumps(told, indent=1))
        return 0 if same else 1
    for label, status in rows.items():
        known = found.get(label, {}).get("class")
        print(f"{status:10} {label}" + (f" ({known})" if known else ""))
        if status == "differs":
            print(*_outputs_compared(released["targets"][label]["outputs"], found[label]["outputs"]), sep="\n")
    counts = Counter(rows.values())
    print(", ".join(f"{status} {counts[status]}" for status in ("identical", "differs", "missing", "new")))
    print(f"{image} is {digest}, {'as released' if digest == released['digest'] else 'and was released as ' + released['digest']}")
    return 0 if same else 1


def _compared(released: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for label in {**found, **released}:
        if label not in found or label not in released:
            yield label, "missing" if label in released else "new"
        else:
            yield label, "identical" if released[label]["outputs"] == found[label]["outputs"] else "differs"


def _outputs_compared(released: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for name in {**found, **released}:
        if released.get(name) != found.get(name):
            here, there = (
                (f"{each[name]['path']} sha256:{each[name]['sha256']}" if name in each else "nothing") for each in (found, released)
            )
            yield f"{'':11}{here}\n{'':11}released as {there.removeprefix(found.get(name, {}).get('path', '') + ' ')}"
