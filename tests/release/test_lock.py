"""The lock file: what is written is read back, the same lock is the same text, and what is no lock is refused in a sentence."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.graph.key import Material
from enginewright.release.lock import ADVICE, Difference, Lock, Locked, Pinned, differences, parse, render, superfluous, updated

SHA, XXH = "5" * 64, "7" * 32
ENGINE = Pinned("none", "1" * 32, "2" * 32, {"engine": Locked(SHA, 12, XXH), "data/folder": Locked(SHA, 3, XXH, tree=True)})
LOCK = Lock(
    sources={"dist://weights/model.pth": f"sha256:{SHA}", "models/x/net.pth": f"sha256:{'6' * 64}"},
    bases={"images/app:debian": f"debian:12@sha256:{SHA}"},
    platforms={"any": "linux-x86_64-cpython-3.11.2", "sm_90": "linux-x86_64-cpython-3.10.1"},
    toolchains={"any": {"torch": "2.13.0", "numpy": "2.4.1"}, "sm_90": {"tensorrt": "8.5.3.1"}},
    outputs={"models/x:engine_sm_90": ENGINE},
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
strings = st.dictionaries(texts, texts, max_size=3)
digests = st.sampled_from("0123456789abcdef").flatmap(lambda digit: st.just((digit * 64, digit * 32)))
files = st.builds(lambda digest, size, tree: Locked(digest[0], size, digest[1], tree), digests, st.integers(0, 2**62), st.booleans())
pinned = st.builds(Pinned, texts, texts, texts, st.dictionaries(texts, files, min_size=1, max_size=3))
locks = st.builds(
    Lock, strings, strings, strings, st.dictionaries(texts, strings.filter(bool), max_size=3), st.dictionaries(texts, pinned, max_size=3)
)


@given(locks)
def test_what_is_written_is_read_back(lock: Lock) -> None:
    assert parse(render(lock)) == lock


def test_the_text_is_sorted_a_line_for_each_thing() -> None:
    backwards = Lock(*(dict(reversed(vars(LOCK)[name].items())) for name in ("sources", "bases", "platforms", "toolchains", "outputs")))
    text = render(LOCK)
    assert render(backwards) == text
    assert text.partition("\nformat = 1\n")[2].splitlines() == [
        "",
        "[sources]",
        f'"dist://weights/model.pth" = "sha256:{SHA}"',
        f'"models/x/net.pth" = "sha256:{"6" * 64}"',
        "",
        "[bases]",
        f'"images/app:debian" = "debian:12@sha256:{SHA}"',
        "",
        "[platforms]",
        'any = "linux-x86_64-cpython-3.11.2"',
        'sm_90 = "linux-x86_64-cpython-3.10.1"',
        "",
        "[toolchains.any]",
        'numpy = "2.4.1"',
        'torch = "2.13.0"',
        "",
        "[toolchains.sm_90]",
        'tensorrt = "8.5.3.1"',
        "",
        '[outputs."models/x:engine_sm_90"]',
        'class = "none"',
        f'key = "{"1" * 32}"',
        f'recipe = "{"2" * 32}"',
        f'files."data/folder" = {{sha256 = "{SHA}", size = 3, xxh3 = "{XXH}", tree = true}}',
        f'files.engine = {{sha256 = "{SHA}", size = 12, xxh3 = "{XXH}"}}',
    ]


def test_git_merges_changes_of_different_things(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def commit(lock: Lock) -> None:
        (tmp_path / "build.lock").write_text(render(lock))
        git("add", "build.lock")
        git("commit", "-m", "lock")

    packages = {f"package-{i:02}": "1.0" for i in range(20)}
    start = replace(LOCK, toolchains={"any": packages})
    git("init", "-b", "main")
    commit(start)
    git("checkout", "-b", "weights")
    weights = {**start.sources, "models/x/net.pth": f"sha256:{'8' * 64}"}
    commit(replace(start, sources=weights))
    git("checkout", "main")
    commit(replace(start, toolchains={"any": {**packages, "package-10": "1.1"}}))
    git("merge", "weights")
    merged = parse((tmp_path / "build.lock").read_text())
    assert merged == replace(start, sources=weights, toolchains={"any": {**packages, "package-10": "1.1"}})


def test_differences_say_what_was_locked_and_what_is_there() -> None:
    assert differences(LOCK, LOCK) == [] == superfluous(LOCK, LOCK)
    found = Lock(
        sources={"models/x/net.pth": "sha256:other", "new.pth": "sha256:new"},
        bases={"images/app:debian": "debian:13"},
        platforms={"any": "linux-aarch64-cpython-3.11.2"},
        toolchains={"any": {"torch": "2.13.1", "numpy": "2.4.1"}},
    )
    assert differences(LOCK, found) == [
        Difference("source", "models/x/net.pth", f"sha256:{'6' * 64}", "sha256:other"),
        Difference("source", "new.pth", "", "sha256:new"),
        Difference("base", "images/app:debian", f"debian:12@sha256:{SHA}", "debian:13"),
        Difference("platform", "any", "linux-x86_64-cpython-3.11.2", "linux-aarch64-cpython-3.11.2", "any"),
        Difference("distribution", "torch", "2.13.0", "2.13.1", "any"),
    ]
    assert [each.name for each in superfluous(LOCK, found)] == ["dist://weights/model.pth", "tensorrt", "models/x:engine_sm_90"]
    assert differences(updated(LOCK, found), found) == []
    assert updated(LOCK, found).toolchains["sm_90"] == LOCK.toolchains["sm_90"]


@given(locks, locks)
def test_an_updated_lock_has_all_that_was_found(lock: Lock, found: Lock) -> None:
    assert differences(updated(lock, found), found) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is of format None"),
        ("format = 2\n", "is of format 2, and this version reads format 1"),
        ("format = 1\n<<<<<<< HEAD\n", "a merge that Git could not finish"),
        ("format = 1\n[sources\n", "is not TOML"),
        ("format = 1\n[sources]\nx = 3\n", "x: expected a string, got 3"),
        ("format = 1\n[source]\nx = '3'\n", "there is no table 'source'"),
        ("format = 1\nsources = 3\n", "sources: expected a table, got 3"),
        ("format = 1\n[toolchains]\nany = 'x'\n", "toolchains.any: expected a table, got 'x'"),
        ("format = 1\noutputs = []\n", r"outputs: expected a table, got \[\]"),
        ("format = 1\n[outputs.x]\nclass = 'none'\n", "x: expected class, key, recipe and files, got class"),
        ("format = 1\n[outputs.x]\nfiles = 'none'\n", "x: files: expected a table, got 'none'"),
        (
            "format = 1\n[outputs.x]\nclass='none'\nkey='k'\nrecipe='r'\nfiles.y={sha256='..', size=1, xxh3='..'}\n",
            "x: files.y: expected sha256, size and xxh3 of a file, got {'sha256': '..', 'size': 1, 'xxh3': '..'}",
        ),
        (
            f"format = 1\n[outputs.x]\nclass='none'\nkey='k'\nrecipe='r'\nfiles.y={{sha256='{SHA}', size=1, xxh3='{XXH}', of=1}}\n",
            "x: files.y: expected sha256",
        ),
    ],
)
def test_what_is_no_lock_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        parse(text)
    # doit lock alone would be of no help: it reads the file, too.
    assert "take either side, and run doit lock" in str(refused.value) or ADVICE in str(refused.value)


def test_names_that_are_not_unicode_are_refused() -> None:
    with pytest.raises(ValueError):
        render(Lock(sources={"models/\udcff": "sha256:"}))


def test_a_recipe_is_what_another_machine_can_tell() -> None:
    material = Material("Make", "x:make", {}, {}, {"a": ("a", "1")}, {"b": "b"}, {"x": "2"}, {"torch": "1"}, "linux")
    assert replace(material, platform="other", toolchain={}).recipe() == material.recipe()
    for other in ({"params": {"x": 1}}, {"inputs": {"a": ("a", "3")}}, {"code": {"x": "3"}}, {"mnemonic": "Other"}):
        assert replace(material, **other).recipe() != material.recipe()
