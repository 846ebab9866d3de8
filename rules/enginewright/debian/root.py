"""The root file system that packages make up, member by member."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from enginewright.errors import ActionError
from enginewright.oci.members import parents
from enginewright.oci.tar import Member


class Root:
    """Members by their names, without those whose absolute paths match a pattern of ``exclude``; copyright files stay, whatever it says.

    ``*`` in a pattern matches ``/`` too.
    """

    def __init__(self, exclude: Iterable[str]) -> None:
        self.members: dict[str, Member] = {}
        self._excluded = re.compile("|".join(fnmatch.translate(pattern) for pattern in exclude) or r"(?!)")
        self._owners: dict[str, str] = {}

    def add(self, member: Member, owner: str = "") -> None:
        """Take a member in, of the package ``owner``. Raises ActionError for a file, or a link, that another package has as well."""
        if self._excluded.match(f"/{member.name}") and not member.name.endswith("/copyright"):
            return
        before = self.members.get(member.name)
        if before and self._owners[member.name] != owner and not before.kind == member.kind == "folder":
            raise ActionError(f"/{member.name} is in {self._owners[member.name]} and in {owner}: leave one of them out")
        if before is None or before.kind != "folder":
            self.members[member.name], self._owners[member.name] = member, owner

    def resolve_links(self) -> None:
        """Make hard links files of their own. Raises ActionError for one to what is not there."""
        found = self.members
        for name, target in [(name, member.target) for name, member in found.items() if member.kind == "hardlink"]:
            if target not in found:
                raise ActionError(f"/{name} is a hard link to /{target}, which is not there: exclude both or neither")
            found[name] = found[target]._replace(name=name)

    def whole(self) -> list[Member]:
        """All of them, sorted, with the folders that they lie in."""
        found = self.members
        for parent in [parent for name in found for parent in parents(name)]:
            found.setdefault(parent, Member(parent, "folder", 0o755))
        return [found[name] for name in sorted(found)]
