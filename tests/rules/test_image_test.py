from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from enginewright import command_check, http_check, image_test
from enginewright.errors import DeclarationError
from enginewright.execute.platform import unmet


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"checks": []}, "checks: is empty"),
        ({"checks": ["/healthz"]}, r"checks\[0\]: expected HttpCheck or CommandCheck"),
        ({"checks": [http_check("healthz")]}, r"checks\[0\]: expected a path, as '/predict', got 'healthz'"),
        ({"checks": [http_check("/predict", body="../secret")]}, r"checks\[0\]: '../secret' must be a path below the package"),
        ({"checks": [http_check("/predict", json={1, 2})]}, r"checks\[0\]: json is no JSON"),
        ({"checks": [command_check()]}, r"checks\[0\]: a command is missing"),
        ({"port": 0}, "port: 0 is no port"),
        ({"health": "healthz"}, "health: expected a path"),
        ({"timeout": 0}, "timeout: is 0: expected at least 1 second"),
    ],
)
def test_refused(declare: Callable[..., Any], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        declare(image_test, **{"name": "test", "image": ":image", "checks": [http_check("/healthz")], **attributes})


def test_without_docker_it_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from enginewright.execute import platform

    platform._docker.cache_clear()
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert unmet({"docker": "yes"}) == (
        "needs Docker, and it is not running, or not for this user (unix:///nowhere/docker.sock: No such file or directory)"
    )
    platform._docker.cache_clear()
