"""The doit loader: the workspace's targets as tasks, beside the tasks of its dodo.py."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit.cmd_base import DodoTaskLoader
from doit.cmd_clean import Clean
from doit.exceptions import InvalidCommand, InvalidDodoFile
from doit.task import Task

from enginewright.doit_plugin.pipes import aside, outlive_readers
from enginewright.execute.memory import STATE

if TYPE_CHECKING:
    from enginewright.execute.build import Build


class WorkspaceLoader(DodoTaskLoader):  # type: ignore[misc]  # doit has no type information
    """Chosen by ``[tool.doit] loader = "enginewright"`` in pyproject.toml."""

    build: Build

    def __init__(self) -> None:
        super().__init__()
        if "" in sys.argv[1:]:
            # doit ends with a traceback over it, before it asks any command.
            print("ERROR: an argument is empty: is it a variable that is not set?", file=sys.stderr)
            raise SystemExit(3)
        try:
            os.getcwd()
        except FileNotFoundError:
            print("ERROR: the current folder was removed: go to one that is there", file=sys.stderr)
            raise SystemExit(3) from None
        # Here, because doit makes the loader before the command, and some commands keep the standard output they are made with.
        outlive_readers()

    def setup(self, opt_values: Any) -> None:
        """Load dodo.py, and keep the command's options, to which doit's settings are yet to be added."""
        _find_workspace(Path.cwd(), opt_values["dodoFile"], opt_values["seek_file"])
        try:
            with aside():
                super().setup(opt_values)
        except (InvalidDodoFile, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise InvalidDodoFile(_mistake(error, Path(opt_values["dodoFile"]).name)) from None
        if opt_values.get("outfile") is sys.__stdout__:  # as it was when doit was imported
            opt_values["outfile"] = sys.stdout
        self._options = opt_values

    def load_doit_config(self) -> dict[str, Any]:
        """doit's settings that suit actions in processes of their own; DOIT_CONFIG in dodo.py wins."""
        with suppress(OSError):  # who is to write there is told; who only looks may look at what is read-only
            Path(STATE).mkdir(parents=True, exist_ok=True)
        defaults = {"dep_file": f"{STATE}/doit.json", "backend": "enginewright", "par_type": "thread", "reporter": "enginewright"}
        return {**defaults, **super().load_doit_config()}

    def load_tasks(self, cmd: Any, pos_args: list[str]) -> list[Task]:
        """All targets as tasks. A command that changes outputs, or what a build remembers, holds the workspace's lock until it exits."""
        # Imported here, because `doit build` with nothing to do needs none of it.
        import difflib

        from doit.cmd_info import Info

        from enginewright.doit_plugin.nodes import groups, nodes, tell_classes
        from enginewright.doit_plugin.session import lock, open_build

        if self._options.get("num_process") and self._options.get("par_type") == "process":
            raise InvalidCommand("-P process: every action has a process of its own, and the build around them must be one: use -P thread")
        changes = isinstance(cmd, Clean) or cmd.execute_tasks or getattr(cmd, "changes_state", False)
        if changes:
            atexit.register(lock(Path.cwd()).close)
        self.build = open_build(Path.cwd(), look_only=not changes, processes=self._options.get("num_process") or 1)
        if changes:
            atexit.register(self.build.close, pos_args)
        targets = nodes(self.build, self.build.graph.deps)
        tell_classes(self.build, targets)
        tasks = [*super().load_tasks(cmd, pos_args), *groups(self.build), *targets]
        if isinstance(cmd, Info) and len(pos_args) == 1:  # doit takes the task to be there
            name, names = pos_args[0], [task.name for task in tasks]
            if name not in names:
                near = "".join(f" (did you mean {each!r}?)" for each in difflib.get_close_matches(name, names, n=1))
                raise InvalidCommand(f"there is no task {name!r}{near}: 'doit list --all' has them")
        return tasks


def _find_workspace(folder: Path, dodo: str, seek: bool) -> None:
    """Say where the workspace is, when it is not this folder, nor asked to be sought above it."""
    if (folder / dodo).exists() or (seek and any((parent / dodo).exists() for parent in folder.parents)):
        return
    above = next((parent for parent in folder.parents if (parent / dodo).exists()), None)
    hint = f"; there is one in {above}: call doit there, or with -k" if above else "; call doit in the folder of a workspace"
    raise InvalidDodoFile(f"{folder} is no workspace: it has no {dodo}{hint}")


def _mistake(error: BaseException, dodo: str) -> str:
    """What went wrong while dodo.py was loaded, and in which of its lines."""
    import traceback

    if isinstance(error, SyntaxError) and error.filename:
        return f"{os.path.relpath(error.filename)}:{error.lineno or 1}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).name == dodo]
    return f"{dodo}:{lines[-1] if lines else 1}: {type(error).__name__}: {error}"
