"""The doit reporter: a line for each target that something became of; on a terminal, what runs now below them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from doit.exceptions import TaskFailed, UnmetDependency
from doit.reporter import ConsoleReporter

from enginewright.doit_plugin.nodes import Node
from enginewright.doit_plugin.progress import Colour, Progress, is_live
from enginewright.execute.outcome import Outcome, Status

_WORDS = {Status.BUILT: "built", Status.CACHED: "cached", Status.SKIPPED: "skipped", Status.FAILED: "FAILED"}
_COLOURS = {Status.BUILT: Colour.GREEN, Status.CACHED: Colour.CYAN, Status.SKIPPED: Colour.YELLOW, Status.FAILED: Colour.RED}


class BuildReporter(ConsoleReporter):  # type: ignore[misc]  # doit has no type information
    """Reports targets by their outcomes; other tasks as doit's console reporter does."""

    desc = "a line for each target that was built, restored, skipped or failed"

    def __init__(self, outstream: TextIO, options: Mapping[str, Any]) -> None:
        super().__init__(outstream, options)
        self._verbose = options.get("verbose", False)
        self._total = 0
        self._done = 0
        self._progress: Progress | None = None

    def initialize(self, tasks: Mapping[str, Any], selected_tasks: Iterable[str]) -> None:
        """Count the actions that are selected, or needed by what is, for the progress numbers."""
        waiting = list(selected_tasks)
        seen = set(waiting)
        while waiting:
            task = tasks[waiting.pop()]
            self._total += isinstance(task, Node) and task.target.action is not None
            new = {dep for dep in task.task_dep if dep not in seen}
            seen |= new
            waiting += new
        if is_live(self.outstream, os.environ):
            build = next((task.build for task in tasks.values() if isinstance(task, Node)), None)
            cached = sum(outcome.status is Status.CACHED for outcome in build.outcomes.values()) if build else 0
            self._progress = Progress(self.outstream, self._total, cached, colour=not os.environ.get("NO_COLOR"))

    def execute_task(self, task: Any) -> None:
        """Say what starts."""
        if not isinstance(task, Node):
            super().execute_task(task)
        elif task.target.action is None or task.skipped:
            return
        elif self._progress:
            last = task.build.record(task.build.previous_key(task.target.label))
            self._progress.start(task.name, last.seconds if last else None)
        else:
            started = f"{'':8}{'running':8} {task.name}  {task.target.action.mnemonic}"
            self._line(started, below=_log(task) if self._verbose else "")

    def add_success(self, task: Any) -> None:
        """Say what was built."""
        if isinstance(task, Node):
            self._outcome(task)

    def skip_uptodate(self, task: Any) -> None:
        """Say what was restored or skipped; nothing of what was up to date all along."""
        if isinstance(task, Node):
            self._outcome(task)
        else:
            super().skip_uptodate(task)

    def add_failure(self, task: Any, fail: Any) -> None:
        """Say what failed, why, and where its log is."""
        if isinstance(task, Node) and isinstance(fail, (TaskFailed, UnmetDependency)):
            self._outcome(task)
        else:
            super().add_failure(task, fail)

    def complete_run(self) -> None:
        """Leave nothing but lines on a terminal."""
        if self._progress:
            self._progress.close()
        super().complete_run()

    def write(self, text: str) -> None:
        """Write what doit itself has to say."""
        if self._progress:
            self._progress.line(text.removesuffix("\n"))
        else:
            super().write(text)

    def _outcome(self, task: Node) -> None:
        if task.target.action is None:
            return
        self._done += 1
        outcome = task.build.outcomes.get(task.target.label)
        if self._progress:
            self._progress.finish(task.name, outcome is not None and outcome.status is Status.CACHED)
        if outcome is not None and outcome.status is not Status.UP_TO_DATE:
            became = f"{f'[{self._done}/{self._total}]':8}{describe(outcome, task.target.action.mnemonic)}"
            logged = outcome.status is Status.FAILED and task.build.log(outcome.label).exists()
            self._line(became, _COLOURS[outcome.status], below=_log(task) if logged else "")

    def _line(self, text: str, colour: str = "", below: str = "") -> None:
        """Write a line with what belongs ``below`` it, in one: other threads have lines to write, too."""
        if self._progress:
            self._progress.line(text, colour, below)
        else:
            self.outstream.write(f"{text}\n{below}")
            self.outstream.flush()


def _log(task: Node) -> str:
    return f"{'':8}log: {os.path.relpath(task.build.log(task.target.label))}\n"


def describe(outcome: Outcome, mnemonic: str) -> str:
    """The outcome of an action as a line, or as many as the reason of a failure has."""
    line = f"{_WORDS.get(outcome.status, outcome.status.value):8} {outcome.label}"
    if outcome.status is Status.BUILT:
        line += f"  {outcome.seconds:.1f} s{f' on {outcome.host}' if outcome.host else ''}"
    elif outcome.status is Status.FAILED:
        line += f" ({mnemonic})"
    return f"{line}: {outcome.reason}" if outcome.reason else line
