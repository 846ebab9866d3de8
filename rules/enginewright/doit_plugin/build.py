"""``doit build``: bring targets up to date, running only what is stale."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doit.cmd_run import opt_continue
from doit.exceptions import InvalidCommand

from enginewright.doit_plugin.command import Command
from enginewright.doit_plugin.options import CACHE_OPTIONS, EXECUTOR_OPTIONS, option
from enginewright.execute.memory import nothing_to_do, open_snapshot

OPT_PROCESSES = option(
    "process", os.cpu_count() or 1, "actions run at a time [default: the number of processors, %(default)s]", "n", name="num_process"
)
_OPT_VERBOSE = option("verbose", False, "also say what enforces the sandbox, and where the log is of each action that runs", "v")
_OPT_JSON = option(
    "json", False, "write the summary and a record per action to standard output as JSON; what people read goes to standard error"
)
_OPT_LOCKED = option("locked", False, "build from nothing but what build.lock has, or not at all (see doit lock)")

OPT_COMPRESSION = option(
    "compression",
    "",
    "how layers are compressed whose declaration does not say: none, gzip or zstd, with a level as in zstd:9"
    " [default: the setting compression, or none]",
)

_REMOTE = tuple(str(each["name"]) for each in (*CACHE_OPTIONS, *EXECUTOR_OPTIONS))


class BuildCommand(Command):
    """Judges the whole selection in one pass, and hands doit only the tasks that may have to run."""

    name = "build"
    doc_purpose = "bring targets up to date: checkpoints, ONNX models, engines, images"
    doc_usage = "[LABEL | PACKAGE ...]"
    doc_description = (
        "Without arguments every target is built. A label names one target (models/minilm:engine_sm_80), a package all of"
        " its targets (models/minilm); what they depend on is built too. Only actions whose key is not in the store run;"
        " outputs that are missing or were changed are restored. Exit codes: 0 all is up to date, 1 an action failed,"
        " 2 an error while running, 3 an error before anything ran."
    )
    execute_tasks = True
    cmd_options = (opt_continue, OPT_PROCESSES, OPT_COMPRESSION, _OPT_VERBOSE, _OPT_JSON, _OPT_LOCKED, *CACHE_OPTIONS, *EXECUTOR_OPTIONS)

    def execute(self, params: Any, args: list[str]) -> int:
        """Build what ``args`` select and return the exit code."""
        started = time.monotonic()
        self.load_settings(params)
        if params["num_process"] < 1:
            raise InvalidCommand(f"-n {params['num_process']}: at least one action must run at a time")
        choose_compression(params)
        snapshot = open_snapshot(Path.cwd())
        if not args and not params["json"] and not params["verbose"] and not params["locked"]:
            actions = nothing_to_do(snapshot)
            if actions:  # where there are none, something is amiss, and is said
                if any(map(params.get, _REMOTE)) or any(name.startswith("ENGINEWRIGHT_REMOTE_") for name in os.environ):
                    from enginewright.doit_plugin.remote_settings import check_given

                    check_given(Path.cwd(), params)
                print(summary_line({"up to date": actions}, time.monotonic() - started))
                return 0
        from enginewright.doit_plugin.execution import build_selection

        return build_selection(args, params, snapshot, started)


def choose_compression(params: Mapping[str, Any]) -> None:
    """Take what the command line says for what the environment says, as all of the build does."""
    if params["compression"]:
        os.environ["ENGINEWRIGHT_COMPRESSION"] = params["compression"]


def summary_line(counts: Mapping[str, int], seconds: float) -> str:
    """The last line of a build."""
    words = ("built", "cached", "up to date", "skipped", "failed")
    return ", ".join(f"{word} {counts.get(word, 0)}" for word in words) + f" in {seconds:.1f} s"
