from __future__ import annotations

from collections.abc import Callable

import pytest
import xxhash

from enginewright import fp16, onnx_model, python_action
from enginewright.execute.code import code_digests, module_path
from enginewright.execute.installation import WORKER


def module_of(rule: Callable[..., None]) -> str:
    """The module of the rule that a BUILD.py calls by this name, wherever it lies."""
    return str(vars(rule)["rule"].__module__)


RULES = [module_of(rule) for rule in (onnx_model, fp16, python_action)]
SANDBOX = {WORKER, "enginewright.execute.guard", "enginewright.execute.namespace", "enginewright.errors"}


def test_the_code_of_an_action_is_its_module_and_what_that_imports_and_the_sandbox() -> None:
    assert set(code_digests("enginewright.graph.key")) == SANDBOX | {
        "enginewright.graph.key",
        "enginewright.graph.encoding",
        "enginewright.graph.action",
    }
    assert set(code_digests("enginewright.store.snapshot")) == SANDBOX | {
        "enginewright.store.snapshot",
        "enginewright.store.digest",
        "enginewright.store.files",
    }


def test_a_digest_is_of_the_modules_source() -> None:
    for name, digest in code_digests("enginewright.graph.key").items():
        path = module_path(name)
        assert path is not None
        assert digest == xxhash.xxh3_128_hexdigest(path.read_bytes())


@pytest.mark.parametrize("module", RULES)
def test_the_code_of_a_rule_holds_neither_other_rules_nor_what_runs_outside_the_sandbox(module: str) -> None:
    found = code_digests(module)
    assert set(found) >= SANDBOX | {module}
    assert set(found) & set(RULES) == {module}
    assert not [name for name in found if ".doit_plugin" in name or ".workspace" in name or name == "enginewright.execute.local"]


def test_imports_inside_functions_count() -> None:
    module = module_of(fp16)
    path = module_path(module)
    assert path is not None
    inside = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("    from enginewright.")]
    assert inside and set(inside) <= set(code_digests(module))


def test_modules_and_packages_have_a_source() -> None:
    for name, end in [("enginewright.graph.key", "enginewright/graph/key.py"), ("enginewright.graph", "enginewright/graph/__init__.py")]:
        path = module_path(name)
        assert path is not None and path.as_posix().endswith(end)
    assert module_path("enginewright.no_such_module") is None
    with pytest.raises(ModuleNotFoundError, match=r"^there is no module enginewright\.no_such_module$"):
        code_digests("enginewright.no_such_module")
