"""``doit forget``: doit's own command, which also has the next build run the forgotten targets' actions, cached or not."""

from __future__ import annotations

from doit.cmd_base import subtasks_iter, tasks_and_deps_iter
from doit.cmd_forget import Forget

from enginewright.doit_plugin.nodes import Node


class ForgetCommand(Forget):  # type: ignore[misc]  # doit has no type information
    """Takes the place of doit's ``forget``."""

    name = "forget"
    doc_purpose = "have the next build run targets again, cached or not"
    changes_state = True
    sel_tasks: list[str] | None

    def _execute(self, forget_sub: bool, forget_disable_default: bool, forget_all: bool) -> None:
        tasks = {task.name: task for task in self.task_list}
        if self.sel_tasks is None:
            self.sel_tasks = list(tasks)
        super()._execute(forget_sub, forget_disable_default, forget_all)
        if forget_all:
            chosen = list(tasks.values())
        elif self.sel_default_tasks and forget_disable_default:
            chosen = []
        elif forget_sub:
            chosen = list(tasks_and_deps_iter(tasks, self.sel_tasks))
        else:
            chosen = [each for name in self.sel_tasks for each in (tasks[name], *subtasks_iter(tasks, tasks[name]))]
        self.loader.build.forget(task.target.label for task in chosen if isinstance(task, Node))
