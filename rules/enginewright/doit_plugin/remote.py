"""``doit remote``: whether what is set up beyond this machine works."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.options import CACHE_OPTIONS
from enginewright.doit_plugin.session import user_errors
from enginewright.doit_plugin.shared_cache import access_of
from enginewright.workspace.settings import read_settings
from enginewright.workspace.shared_cache import CacheSettings, read_cache_settings

if TYPE_CHECKING:
    from enginewright.remote.checks import Step

_OPT_JSON = {
    "name": "json", "short": "", "long": "json", "type": bool, "default": False,
    "help": "write one JSON document to standard output instead of lines for people",
}  # fmt: skip

_WORDS = {True: "ok", False: "FAILED", None: "-"}


class RemoteCommand(Command):
    """Tries, a step at a time, what a build would rely on."""

    name = "remote"
    doc_purpose = "whether the cache that is shared with other machines works"
    doc_usage = "check"
    doc_description = (
        "check tries the remote cache that the settings, the environment or the options name, a step at a time: whether it is there and"
        " lets us in, what it can do, and whether it gives back what it took. Exit codes: 0 all works, 1 a step failed, 3 nothing is"
        " set up, or not as it should be."
    )
    cmd_options = (*CACHE_OPTIONS, _OPT_JSON)

    def execute(self, params: Any, args: list[str]) -> int:
        """Run the subcommand that ``args`` name and return the exit code."""
        if args != ["check"]:
            raise InvalidCommand(f"doit remote: expected check, got {' '.join(args) or 'nothing'}")
        self.loader.setup(params)
        root = Path.cwd()
        with user_errors():
            settings = read_cache_settings(root, read_settings(root).remote, os.environ, params)
            if not settings.url:
                raise InvalidCommand(
                    "no remote cache is set up: give --remote-cache=URL, set ENGINEWRIGHT_REMOTE_CACHE, or write"
                    ' cache = "URL" below [tool.enginewright.remote] in pyproject.toml (docs/remote.md)'
                )
            steps = []
            for step in _cache_steps(settings):
                steps.append(step)
                if not params["json"]:
                    print(f"{_WORDS[step.good]:8}{step.name:12}{_took(step)}{step.text}", flush=True)
        if params["json"]:
            json.dump({"cache": settings.url, "mode": settings.mode, "steps": [step._asdict() for step in steps]}, sys.stdout, indent=1)
            print()
        return int(any(step.good is False for step in steps))


def _cache_steps(settings: CacheSettings) -> Iterator[Step]:
    from enginewright.remote.address import parse
    from enginewright.remote.connect import adapter_for

    address = parse(settings.url)
    access = access_of(settings)
    adapter = adapter_for(address, access, settings.timeout)
    from enginewright.remote.checks import Step, check_cache

    shown = [what for what, given in (("a token", access.token), ("a client certificate", access.certificate)) if given]
    yield Step("settings", True, f"{address}, {settings.mode}, shown to it: {' and '.join(shown) or 'nothing'}")
    try:
        yield from check_cache(adapter, settings.mode != "write", settings.mode != "read")
    finally:
        adapter.close()


def _took(step: Step) -> str:
    return f"{step.seconds * 1000:.0f} ms, " if step.good is not None and step.seconds else ""
