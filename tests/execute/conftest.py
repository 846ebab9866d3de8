from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enginewright.store.content import ContentStore
from sandboxed import Sandbox


@pytest.fixture
def sandbox(tmp_path: Path, declare: Callable[..., Any]) -> Sandbox:
    (tmp_path / "workspace").mkdir()
    return Sandbox(tmp_path / "workspace", ContentStore(tmp_path / "store"), declare)
