"""Where a target's action can run: on this machine, on a worker of the remote executor, or nowhere."""

from __future__ import annotations

from collections.abc import Mapping

from enginewright.errors import DeclarationError
from enginewright.execute.elsewhere import Elsewhere, Machine
from enginewright.execute.installation import Installation
from enginewright.execute.platform import PROPERTY, host_platform, unmet
from enginewright.graph.dag import Target
from enginewright.graph.label import Label


class Placement:
    """Of each target with an action, where it can run, and with what toolchain. ``elsewhere`` is the remote executor, if there is one.

    With ``look_only`` the executor is not connected to, and is taken to be there.
    """

    def __init__(self, installation: Installation, elsewhere: Elsewhere | None, look_only: bool) -> None:
        self._installation = installation
        self._elsewhere = elsewhere
        self._look_only = look_only
        self._remote: dict[Label, bool] = {}

    @property
    def remote_jobs(self) -> int:
        """How many actions may be under way on the remote executor at once, beside those that run here; 0 when none is for it."""
        return self._elsewhere.jobs if self._elsewhere is not None and any(self._remote.values()) else 0

    def remote(self, target: Target) -> Elsewhere | None:
        """The remote executor when it is to run a target's action. Raises WorkspaceError when it is not there and must be."""
        if self._elsewhere is None or target.action is None:
            return None
        if target.label not in self._remote:
            wanted = self._elsewhere.choice.wants(target.label, target.action, self.unmet_here(target))
            self._remote[target.label] = wanted and (self._look_only or not self._elsewhere.problem)
        return self._elsewhere if self._remote[target.label] else None

    def retreat(self, target: Target) -> str:
        """Have a target's action run here after all; or say why it cannot."""
        reason = self.unmet_here(target)
        self._remote[target.label] = bool(reason)
        return reason

    def unmet(self, target: Target) -> str:
        """Why a target's action can run nowhere; empty when it can."""
        if self.remote(target) is not None:
            return ""
        reason = self.unmet_here(target)
        problem = self._elsewhere.problem if reason and self._elsewhere is not None and not self._look_only else ""
        return f"{reason}; {problem}" if problem else reason

    def unmet_here(self, target: Target) -> str:
        """Why this machine cannot run a target's action; empty when it can."""
        assert target.action is not None
        return unmet(target.action.requires) or self._lacks(target)

    def has_toolchain(self, target: Target) -> bool:
        """Whether it can be told what a target's action would run with, wherever it may."""
        return self._machine(target) is not None or not self._lacks(target)

    def toolchain(self, target: Target) -> Mapping[str, str]:
        """The versions of what a target's action imports, where it runs. Raises DeclarationError when something is not installed."""
        assert target.action is not None
        machine = self._machine(target)
        try:
            if machine is not None:
                return machine.toolchain(target.action.packages)
            return self._installation.toolchain(target.action.packages).versions
        except LookupError as error:
            raise DeclarationError(f"{target}: {error}") from None

    def platform(self, target: Target) -> str:
        """The platform that a target's action runs on, as it stands in its key."""
        machine = self._machine(target)
        return host_platform() if machine is None else machine.platform

    def _machine(self, target: Target) -> Machine | None:
        """The kind of worker that a target's action is for; None when it runs here, or on a machine like this one."""
        elsewhere = self.remote(target)
        return elsewhere.machine(target.action.requires) if elsewhere is not None and target.action is not None else None

    def _lacks(self, target: Target) -> str:
        """Which distribution is missing for a target that needs a GPU, or a certain worker: such are for machines set up for them.

        For any other it is a mistake, which `toolchain` raises.
        """
        if target.action is not None and (
            "gpu" in target.action.requires or any(each.startswith(PROPERTY) for each in target.action.requires)
        ):
            try:
                self._installation.toolchain(target.action.packages)
            except LookupError as error:
                return f"cannot run here: {error}"
        return ""
