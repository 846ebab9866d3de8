"""``doit cache``: what the store holds, making room in it, and checking it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.lock import read_lock
from enginewright.doit_plugin.options import OPT_JSON, option
from enginewright.doit_plugin.session import lock, user_errors
from enginewright.doit_plugin.units import read_age, read_size, show_size
from enginewright.execute.leftovers import clear_leftovers
from enginewright.execute.memory import open_snapshot
from enginewright.release.lock import FILE
from enginewright.store.garbage import Keep, Limits, clear
from enginewright.store.inventory import take_inventory
from enginewright.store.verify import verify
from enginewright.workspace.settings import read_settings

T = TypeVar("T")

_OPT_MAX_SIZE = option("max-size", "", "gc: results that were not used for longest go until the store is no larger, such as 20GB")
_OPT_OLDER_THAN = option("older-than", "", "gc: results that no build used for so long go, such as 30d")
_OPT_DRY_RUN = option("dry-run", False, "gc: say what would go, and leave it")


class CacheCommand(Command):
    """Looks at the store of the workspace, which others may share, and looks after it."""

    name = "cache"
    doc_purpose = "what the store holds; make room in it; check it"
    doc_usage = "stats | gc | verify"
    doc_description = (
        "stats counts what the store holds. gc removes blobs that no result refers to and what killed builds left behind, and"
        " results up to the limits it is given, those that were not used for longest first; never what the last build of this"
        " workspace refers to. verify reads every blob and every record, and sets aside what is damaged. Exit codes: 0 all is"
        " well, 1 verify found something wrong, 3 an error."
    )
    cmd_options = (_OPT_MAX_SIZE, _OPT_OLDER_THAN, _OPT_DRY_RUN, OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Run the subcommand that ``args`` name and return the exit code."""
        subcommands = {"stats": _stats, "gc": _gc, "verify": _verify}
        if len(args) != 1 or args[0] not in subcommands:
            raise InvalidCommand(f"doit cache: expected stats, gc or verify, got {' '.join(args) or 'nothing'}")
        if args[0] != "gc" and (params["max_size"] or params["older_than"] or params["dry_run"]):
            raise InvalidCommand(f"doit cache {args[0]}: --max-size, --older-than and --dry-run are options of gc")
        self.loader.setup(params)
        root = Path.cwd()
        with user_errors():
            return subcommands[args[0]](root, read_settings(root).store, params)


def _stats(root: Path, store: Path, params: Mapping[str, Any]) -> int:
    inventory = take_inventory(store)
    keys = _last_results(root).keys
    ours = inventory.referred(keys)
    used = [record.used for record in inventory.records]
    found: dict[str, Any] = {
        "store": str(store),
        "blobs": len(inventory.blobs),
        "bytes": sum(inventory.blobs.values()),
        "results": len(inventory.records),
        "quarantined": len(inventory.quarantined),
        "oldest_use": min(used, default=None),
        "newest_use": max(used, default=None),
        "workspace": {
            "results": sum(record.key in keys for record in inventory.records),
            "blobs": len(ours),
            "bytes": sum(inventory.blobs[digest] for digest in ours),
        },
    }
    if params["json"]:
        return _print_json(found)
    print(f"store           {store}")
    print(f"blobs           {found['blobs']}, {show_size(found['bytes'])}")
    print(f"results         {found['results']}" + (f", used between {_date(min(used))} and {_date(max(used))}" if used else ""))
    print(f"quarantined     {found['quarantined']}")
    print(f"this workspace  {found['workspace']['results']} results, {len(ours)} blobs, {show_size(found['workspace']['bytes'])}")
    return 0


def _gc(root: Path, store: Path, params: Mapping[str, Any]) -> int:
    age = _read(params, "older_than", read_age)
    limits = Limits(size=_read(params, "max_size", read_size), since=None if age is None else time.time() - age)
    if params["dry_run"]:
        garbage, leftovers = clear(store, limits, _last_results(root), dry_run=True), 0
    else:
        with lock(root):
            garbage = clear(store, limits, _last_results(root))
            leftovers = garbage.leftovers + clear_leftovers(root)
    if params["json"]:
        return _print_json(
            {
                "dry_run": params["dry_run"],
                "results": len(garbage.records),
                "blobs": len(garbage.blobs),
                "quarantined": len(garbage.quarantined),
                "bytes": garbage.size,
                "leftovers": leftovers,
                "left": garbage.left,
            }
        )
    what = f"{_count(len(garbage.records), 'result')}, {_count(len(garbage.blobs), 'blob')}"
    if garbage.quarantined:
        what += f", {_count(len(garbage.quarantined), 'quarantined file')}"
    if leftovers:
        what += f", {_count(leftovers, 'leftover')} of killed builds"
    print(f"{'would remove' if params['dry_run'] else 'removed'} {what}: {show_size(garbage.size)}; {show_size(garbage.left)} left")
    if limits.size is not None and garbage.left > limits.size:
        print(f"this is more than {params['max_size']}: what the last build of this workspace refers to stays")
    return 0


def _verify(root: Path, store: Path, params: Mapping[str, Any]) -> int:
    verdict = verify(store, _Progress())
    if params["json"]:
        _print_json(asdict(verdict))
    else:
        aside = f"set aside in {store / 'quarantine'}"
        for digest in verdict.damaged:
            print(f"blob {digest}: its bytes are not those of its name; {aside}")
        for key in verdict.unreadable:
            print(f"result {key}: its record cannot be read; {aside}")
        for key in verdict.incomplete:
            print(f"result {key}: refers to a blob that is not there; forgotten")
        checked = f"verified {_count(verdict.blobs, 'blob')}, {show_size(verdict.size)}, and {_count(verdict.records, 'result')}"
        print(f"{checked}: " + (f"{verdict.wrong} wrong; the next builds make again what they need" if verdict.wrong else "all is well"))
    return 1 if verdict.wrong else 0


class _Progress:
    """A line on the terminal that says how far a check has come; nothing where there is no terminal."""

    def __init__(self) -> None:
        self._shown = ""

    def __call__(self, done: int, total: int) -> None:
        text = f"verifying: {show_size(done)} of {show_size(total)}"
        if sys.stderr.isatty() and text != self._shown:
            self._shown = text
            sys.stderr.write(f"\r\x1b[K{'' if done == total else text}")
            sys.stderr.flush()


def _last_results(root: Path) -> Keep:
    targets = open_snapshot(root).targets().values()
    digests = {digest for built in targets for digest in built.outputs.values()}
    if (root / FILE).exists():  # what is locked cannot be made again
        digests |= {file.xxh3 for pinned in read_lock(root).outputs.values() for file in pinned.files.values()}
    return Keep(frozenset(built.key for built in targets), frozenset(digests))


def _read(params: Mapping[str, Any], name: str, read: Callable[[str], T]) -> T | None:
    """The value of an option; None when it was not given."""
    try:
        return read(params[name]) if params[name] else None
    except ValueError as error:
        raise InvalidCommand(f"--{name.replace('_', '-')}: {error}") from None


def _print_json(document: Any) -> int:
    json.dump(document, sys.stdout, indent=1)
    print()
    return 0


def _count(count: int, thing: str) -> str:
    return f"{count} {thing}{'s' * (count != 1)}"


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "minutes")
