"""What a report tells of one build, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Action:
    """What became of one action.

    ``kind`` is its mnemonic and ``status`` the word of the ledger: built, cached, failed or skipped. ``reason`` says why it ran,
    was restored, failed or was skipped. ``began`` and ``ended`` are seconds since the build's start, ``peak_rss`` is in bytes.
    ``reproducible`` is how near its action comes to its result when it runs again, where that is known: bit, numerical or none.
    ``host`` is the remote worker that ran it, if one did. ``saved`` is how many seconds it took to make what was restored; ``outputs``
    has sizes in bytes by path; ``deps`` are the labels of what it read the outputs of, among those of the same build.
    """

    label: str
    status: str
    kind: str = ""
    reason: str = ""
    began: float = 0.0
    ended: float = 0.0
    worker: int = 0
    peak_rss: int = 0
    saved: float = 0.0
    outputs: Mapping[str, int] = field(default_factory=dict)
    deps: Sequence[str] = ()
    reproducible: str = ""
    host: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


@dataclass(frozen=True)
class History:
    """One build. ``actions`` are in the order in which they ended; ``started`` is in seconds since 1970."""

    id: str
    started: float
    seconds: float
    args: Sequence[str]
    host: str
    processes: int
    actions: Sequence[Action]

    @property
    def ran(self) -> list[Action]:
        """All but those that were skipped."""
        return [action for action in self.actions if action.status != "skipped"]

    def having(self, status: str) -> list[Action]:
        """The actions that have this status."""
        return [action for action in self.actions if action.status == status]


@dataclass(frozen=True)
class Picture:
    """The graph of a build: how many ``targets`` it has, and a picture of them as the text of an SVG; none when they are too many."""

    targets: int
    svg: str = ""


def critical_path(actions: Sequence[Action]) -> list[Action]:
    """The chain of dependencies that took longest, in order: however many run at a time, a build takes at least as long."""
    known: dict[str, Action] = {}
    reach: dict[str, tuple[float, str]] = {}
    for action in sorted(actions, key=lambda each: (each.began, each.ended)):
        behind, dep = max(((reach[dep][0], dep) for dep in action.deps if dep in reach), default=(0.0, ""))
        known[action.label] = action
        reach[action.label] = (behind + action.seconds, dep)
    label = max(reach, key=lambda each: reach[each][0], default="")
    path: list[Action] = []
    while label:
        path.append(known[label])
        label = reach[label][1]
    return path[::-1]
