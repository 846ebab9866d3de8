"""oci_base(): what it declares. What it does is tested in tests/oci/test_base.py and with a registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from enginewright.errors import DeclarationError
from enginewright.graph.action import Action, Artifact
from enginewright.graph.rule import Rule
from enginewright.rules.oci_base import oci_base

DIGEST = "sha256:" + "a" * 64

Declare = Callable[..., Rule]
Analyse = Callable[[Rule], Action]


def test_from_a_registry(declare: Declare, action_of: Analyse) -> None:
    made = action_of(declare(oci_base, name="base", image=f"debian:12@{DIGEST}"))
    assert made.inputs == {} and made.requires == {"network": "yes"}
    assert made.outputs == {"base": Artifact("build/models/x/base", tree=True)}
    assert made.params == {"image": f"debian:12@{DIGEST}", "platform": "linux/amd64", "shallow": True, "plain_http": False}
    assert {"HOME", "DOCKER_CONFIG", "https_proxy", "HTTPS_PROXY"} <= set(made.environment)


def test_from_a_layout(declare: Declare, action_of: Analyse) -> None:
    files = ["base/blobs/sha256/aa", "base/index.json", "base/oci-layout"]
    made = action_of(declare(oci_base, name="base", layout=files, digest=DIGEST))
    assert made.inputs == {path.removeprefix("base/"): Artifact(f"models/x/{path}") for path in files}
    assert made.requires == {} and made.params == {"platform": "linux/amd64", "digest": DIGEST}


def test_from_an_archive(declare: Declare, action_of: Analyse) -> None:
    made = action_of(declare(oci_base, name="base", archive="base.tar", platform="linux/arm/v7"))
    assert made.inputs == {"archive": Artifact("models/x/base.tar")}
    assert made.params == {"platform": "linux/arm/v7", "digest": None}


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({}, "gives none: one of image, layout and archive"),
        ({"image": "a", "archive": "b"}, "gives image and archive: one of image, layout and archive"),
        ({"image": "Debian"}, "image: 'Debian' is not an image reference: 'library/Debian' cannot be a repository"),
        ({"image": "a@sha256:12"}, "image: 'a@sha256:12' is not an image reference: after the @"),
        ({"image": "a", "digest": DIGEST}, "digest: pins a layout or an archive"),
        ({"archive": "a", "digest": "md5:1"}, "digest: 'md5:1' is not a SHA-256 digest"),
        ({"archive": "a", "plain_http": True}, "plain_http: is of images from a registry"),
        ({"archive": "a", "shallow": False}, "shallow: is of images from a registry"),
        ({"layout": ["base/oci-layout"]}, "layout: is not that of an image layout: there is no index.json"),
        ({"layout": ["base/index.json", "other"]}, "layout: is not that of an image layout: other is outside base/"),
        ({"image": "a", "platform": "amd64"}, "platform: 'amd64' is no platform"),
    ],
)
def test_refused(declare: Declare, attributes: dict[str, Any], problem: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declare(oci_base, name="base", **attributes)
    assert problem in str(caught.value)
