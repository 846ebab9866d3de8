from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from enginewright.errors import DeclarationError, WorkspaceError
from enginewright.workspace.packages import Found, find_packages, load_packages

Problem = Callable[[str | bytes], str]


@pytest.fixture
def problem(tmp_path: Path) -> Problem:
    """What is wrong with a BUILD.py of models/x that holds this text."""

    def load(content: str | bytes) -> str:
        (tmp_path / "models/x").mkdir(parents=True, exist_ok=True)
        (tmp_path / "models/x/BUILD.py").write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(DeclarationError) as caught:
            load_packages(tmp_path, ["models/x"])
        return str(caught.value)

    return load


def package(root: Path, name: str, build: str = "") -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "BUILD.py").write_text(build)


def test_packages_are_the_matching_folders_with_a_build_file(tmp_path: Path) -> None:
    for name in ("models/b", "models/a", "images/a", "other/a", "models/a/deep"):
        package(tmp_path, name)
    (tmp_path / "models/empty").mkdir()
    assert find_packages(tmp_path, ["models/*", "images/*"]).packages == ["images/a", "models/a", "models/b"]
    assert find_packages(tmp_path, ["models/*", "models/*/*", "models/a"]).packages == ["models/a", "models/a/deep", "models/b"]
    assert find_packages(tmp_path, ["none/*"]) == Found([], ["none"])
    assert find_packages(tmp_path, []) == Found([], [])


@pytest.mark.parametrize("name", ["models/a b", "models/a:b", "models/modèle", "models/a\nb"])
def test_a_folder_whose_name_no_label_can_hold_is_refused(tmp_path: Path, name: str) -> None:
    package(tmp_path, name)
    with pytest.raises(DeclarationError) as caught:
        find_packages(tmp_path, ["models/*"])
    assert str(caught.value) == f"{name}/BUILD.py:1: the folder cannot be a package: rename it to letters, digits and _ . - only"


def test_what_would_change_the_search_is_watched(tmp_path: Path) -> None:
    package(tmp_path, "models/a")
    (tmp_path / "models/empty").mkdir()
    assert find_packages(tmp_path, ["models/*", "none/*"]).watched == ["models", "models/a/BUILD.py", "models/empty", "none"]
    assert find_packages(tmp_path, ["*/a"]).watched == [".", "models/a", "models/a/BUILD.py"]


@pytest.mark.parametrize("pattern", ["", ".", "/models/*", "models/**", "../models/*", "models/\0"])
def test_a_pattern_that_is_none_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        find_packages(tmp_path, ["models/*", pattern])
    assert str(caught.value).startswith(f"pyproject.toml: [tool.enginewright] packages: {pattern!r} is not a relative glob pattern")


def test_what_build_files_declare_is_collected_by_package(tmp_path: Path) -> None:
    call = "python_action(name={!r}, function='a.py:f', outputs={{'o': 'o'}})\n"
    package(tmp_path, "models/x", "from enginewright import python_action\n" + call.format("a") + call.format("b"))
    package(tmp_path, "models/y", "import enginewright\nassert __name__ == 'BUILD'\nenginewright." + call.format("c"))
    package(tmp_path, "models/z")
    loaded = load_packages(tmp_path, ["models/x", "models/y", "models/z"])
    assert {name: [each.rule.name for each in found] for name, found in loaded.items()} == {
        "models/x": ["a", "b"], "models/y": ["c"], "models/z": [],
    }  # fmt: skip
    assert [str(each.location) for each in loaded["models/x"]] == ["models/x/BUILD.py:2", "models/x/BUILD.py:3"]


def test_a_build_file_may_read_where_it_is(tmp_path: Path) -> None:
    package(tmp_path, "models/x", "from pathlib import Path\nassert Path(__file__).samefile(Path(__file__).parent / 'BUILD.py')")
    load_packages(tmp_path, ["models/x"])


def test_a_build_file_that_is_no_python(problem: Problem) -> None:
    assert problem("a = 1\nb = = 2\n") == "models/x/BUILD.py:2: invalid syntax"
    assert problem("def f(:\n").startswith("models/x/BUILD.py:1: ")
    assert problem("if True:\npass\n") == "models/x/BUILD.py:2: expected an indented block after 'if' statement on line 1"
    assert problem("a = 1\0\n").startswith("models/x/BUILD.py:1: ")


def test_a_build_file_that_is_no_text(problem: Problem) -> None:
    assert problem(b"a = 1\nb = '\xff'\n").startswith("models/x/BUILD.py:1: cannot be read: 'utf-8' codec can't decode byte 0xff")


def test_a_build_file_that_cannot_be_read(tmp_path: Path) -> None:
    build_file = tmp_path / "models/x/BUILD.py"
    build_file.mkdir(parents=True)
    assert _refused(tmp_path) == "models/x/BUILD.py:1: cannot be read: it is no file"
    build_file.rmdir()
    os.mkfifo(build_file)
    assert _refused(tmp_path) == "models/x/BUILD.py:1: cannot be read: it is no file"
    build_file.unlink()
    build_file.symlink_to("nowhere")
    assert _refused(tmp_path).startswith("models/x/BUILD.py:1: cannot be read: [Errno 2] No such file")
    build_file.unlink()
    build_file.symlink_to("BUILD.py")
    assert _refused(tmp_path).startswith("models/x/BUILD.py:1: cannot be read: [Errno 40] Too many levels")


def _refused(root: Path) -> str:
    with pytest.raises(DeclarationError) as caught:
        load_packages(root, find_packages(root, ["models/*"]).packages)
    return str(caught.value)


def test_a_build_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    package(tmp_path, "models/x", "\ufeffa = 1\r\n")
    assert load_packages(tmp_path, ["models/x"]) == {"models/x": []}


def test_a_name_that_does_not_exist_is_answered_with_the_nearest(problem: Problem) -> None:
    assert problem("ARCHS = []\n\nprint(ARCH)\n") == "models/x/BUILD.py:3: name 'ARCH' is not defined (did you mean 'ARCHS'?)"
    assert problem("fp61(name='a')\n") == "models/x/BUILD.py:1: name 'fp61' is not defined (did you mean 'fp16'?)"
    assert problem("fp16(name='a', model=':m')\n") == (
        "models/x/BUILD.py:1: name 'fp16' is not defined; add it to 'from enginewright import ...'"
    )


def test_a_rule_that_does_not_exist_is_answered_with_the_nearest(problem: Problem) -> None:
    assert problem("\nfrom enginewright import fp61\n") == "models/x/BUILD.py:2: enginewright has no rule 'fp61' (did you mean 'fp16'?)"
    assert problem("import enginewright\nenginewright.fp61()\n") == (
        "models/x/BUILD.py:2: AttributeError: module 'enginewright' has no attribute 'fp61'"
    )
    assert problem("import no_such_module\n") == "models/x/BUILD.py:1: ModuleNotFoundError: No module named 'no_such_module'"


def test_an_exception_is_told_with_the_innermost_line_of_the_build_file(problem: Problem) -> None:
    assert problem("a = 1\n1 / 0\nb = 2\n") == "models/x/BUILD.py:2: ZeroDivisionError: division by zero"
    assert problem("def f():\n    return {}['key']\n\nf()\n") == "models/x/BUILD.py:2: KeyError: 'key'"
    assert problem("import json\n\nx = json.loads(\n    'no json'\n)\n").startswith("models/x/BUILD.py:3: Expecting value")
    assert problem("raise ValueError('pick another')\n") == "models/x/BUILD.py:1: pick another"
    assert problem("assert 1 == 2, 'why'\n") == "models/x/BUILD.py:1: AssertionError: why"
    assert problem("def f(): f()\nf()\n").startswith("models/x/BUILD.py:1: RecursionError: ")
    assert problem("exec('1 +')\n").startswith("models/x/BUILD.py:1: SyntaxError: ")
    assert problem("raise GeneratorExit\n") == "models/x/BUILD.py:1: GeneratorExit"


@pytest.mark.parametrize("nested", ["-" * 100_000 + "1", "1" + " + 1" * 100_000])
def test_an_expression_that_is_nested_too_deeply(problem: Problem, nested: str) -> None:
    assert problem(f"a = {nested}\n") == "models/x/BUILD.py:1: an expression is nested too deeply for Python"


def test_a_build_file_cannot_end_the_program(problem: Problem) -> None:
    assert problem("\nexit(3)\n") == "models/x/BUILD.py:2: SystemExit: 3"
    assert problem("import sys\nsys.exit('enough')\n") == "models/x/BUILD.py:2: SystemExit: enough"


def test_a_wrong_declaration_keeps_its_own_words(problem: Problem) -> None:
    source = "from enginewright import python_action\n\npython_action(name='a', function='net.py', outputs={'o': 'o'})\n"
    assert problem(source) == (
        "models/x/BUILD.py:3: python_action(name='a'): function: expected FILE.py:FUNCTION, as 'net.py:build', got 'net.py'"
    )


def test_a_failed_package_leaves_loading_as_it_was(problem: Problem, tmp_path: Path) -> None:
    problem("1 / 0")
    from enginewright import python_action

    with pytest.raises(DeclarationError, match=r"call it in a BUILD\.py$"):
        python_action(name="a", function="a.py:f", outputs={"o": "o"})
