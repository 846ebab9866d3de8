from __future__ import annotations

import getpass
import sys

import pytest

from enginewright.attest.keys import load_private
from enginewright.errors import WorkspaceError


def test_nobody_gives_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-D, where it is asked for."""

    def ended(prompt: str) -> str:
        assert prompt == "password of env:KEY: "
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", ended)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with pytest.raises(WorkspaceError, match="key: no password of env:KEY was given"):
        load_private("env:KEY", {"KEY": "-----BEGIN ENCRYPTED PRIVATE KEY-----"})
