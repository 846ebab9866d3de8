"""The page that `doit report` writes, in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from throwaway import Workspace


def dom(page: Path, profile: Path) -> str:
    """What headless Chromium makes of a page. It must have nothing to say on its console."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None and os.environ.get("CI"):
        pytest.fail("chromium is not installed, and with CI set that is a failure: apt-get install chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    quiet = ("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync", "disable-quic")
    done = subprocess.run(
        [
            browser,
            *(f"--{option}" for option in ("headless", "no-sandbox", "disable-gpu", "enable-logging=stderr", *quiet)),
            f"--user-data-dir={profile}",
            "--dump-dom",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "CONSOLE" not in done.stderr
    return done.stdout


def test_the_report_of_the_examples_in_a_browser(checkout: Workspace, built: Path, tmp_path: Path) -> None:
    checkout.doit("report", "-o", str(tmp_path / "report.html"))
    seen = dom(tmp_path / "report.html", tmp_path / "profile")
    counts = {name: int(count) for name, count in re.findall(r"<b>(built|cached|failed|skipped)</b> <strong[^>]*>(\d+)</strong>", seen)}
    rows = re.findall(r'<td class="status (\w+)">\1</td>', seen)
    assert counts == {name: rows.count(name) for name in ("built", "cached", "failed", "skipped")}
    assert counts["built"] + counts["cached"] == len(re.findall(r'<svg class="bar (?:built|cached)', seen)) > 0
    assert "All actions" in seen


def test_the_console_is_watched(tmp_path: Path) -> None:
    (tmp_path / "wrong.html").write_text("<!doctype html><script>console.error('no')</script>")
    with pytest.raises(AssertionError, match="CONSOLE"):
        dom(tmp_path / "wrong.html", tmp_path / "profile")
