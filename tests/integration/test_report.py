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


@pytest.fixture(scope="module")
def restored(checkout: Workspace, built: Path) -> Workspace:
    """The workspace of the examples, whose last build had something to do with every one of them."""
    for folder in ("models", "images"):
        shutil.rmtree(built / "build" / folder)
    checkout.doit("build")
    return checkout


def test_the_report_of_the_examples_in_a_browser(restored: Workspace, tmp_path: Path) -> None:
    restored.doit("report", "-o", str(tmp_path / "report.html"))
    seen = dom(tmp_path / "report.html", tmp_path / "profile")
    counts = {name: int(count) for name, count in re.findall(r"<b>(built|cached|failed|skipped)</b> <strong[^>]*>(\d+)</strong>", seen)}
    rows = re.findall(r'<td class="status (\w+)">\1</td>', seen)
    assert counts == {name: rows.count(name) for name in ("built", "cached", "failed", "skipped")}
    assert counts["built"] + counts["cached"] == len(re.findall(r'<svg class="bar (?:built|cached)', seen)) > 0
    assert "All actions" in seen
    graph = seen.partition('<div class="picture">')[2].partition("</div>")[0]
    assert len(re.findall(r"<g class=.k\d+( critical)?. transform=[^>]*><title>", graph)) >= len(rows)
    for status, count in counts.items():
        assert (f">{status} ({count})</text>" in graph) == (count > 0)


MEASURE = """<script>
const picture = document.querySelector(".picture"), root = document.documentElement
document.title = [root.scrollWidth, root.clientWidth, picture.scrollWidth, picture.clientWidth].join(" ")
</script>"""


def test_a_wide_graph_scrolls_in_its_own_box_and_the_page_does_not(restored: Workspace, tmp_path: Path) -> None:
    page = restored.doit("report", "-o", "-").stdout
    assert '<div class="picture">' in page
    (tmp_path / "measured.html").write_text(page.replace("</body>", f"{MEASURE}</body>"))
    (title,) = re.findall(r"<title>([\d ]+)</title>", dom(tmp_path / "measured.html", tmp_path / "profile"))
    whole, window, graph, box = map(int, title.split())
    assert whole <= window
    assert graph > box


def test_the_console_is_watched(tmp_path: Path) -> None:
    (tmp_path / "wrong.html").write_text("<!doctype html><script>console.error('no')</script>")
    with pytest.raises(AssertionError, match="CONSOLE"):
        dom(tmp_path / "wrong.html", tmp_path / "profile")
