"""Names of images in registries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginewright.oci.registry.reference import Reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "full", "selector"),
    [
        ("debian", "docker.io/library/debian", "latest"),
        ("debian:12", "docker.io/library/debian:12", "12"),
        ("team/app", "docker.io/team/app", "latest"),
        ("index.docker.io/team/app", "docker.io/team/app", "latest"),
        ("localhost/app", "localhost/app", "latest"),
        ("127.0.0.1:5000/app:v1", "127.0.0.1:5000/app:v1", "v1"),
        ("[::1]:5000/app", "[::1]:5000/app", "latest"),
        ("[2001:db8::1]/app:v1", "[2001:db8::1]/app:v1", "v1"),
        (f"ghcr.io/a/b_c/d-e:1@{DIGEST}", f"ghcr.io/a/b_c/d-e:1@{DIGEST}", DIGEST),
    ],
)
def test_read(text: str, full: str, selector: str) -> None:
    reference = Reference.parse(text)
    assert (str(reference), reference.selector) == (full, selector)
    assert Reference.parse(str(reference)) == reference
    assert str(reference.at(DIGEST)) == f"{reference.name}@{DIGEST}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'library/' cannot be a repository"),
        ("ghcr.io/Team/app", "'Team/app' cannot be a repository, as 'team/app': repositories are in lower case"),
        ("ghcr.io/a//b", "'a//b' cannot be a repository"),
        ("ghcr.io/../b", "'../b' cannot be a repository"),
        ("ghcr.io/a:", "'' cannot be a tag"),
        ("ghcr.io/a:b/c", "'b/c' cannot be a tag"),
        ("a@sha256:ab", "after the @, expected sha256: and 64 hexadecimal digits, got 'sha256:ab'"),
        ("https://ghcr.io/a", "leave out https://"),
        ("http://127.0.0.1:5000/a:1", "leave out http://"),
        ("127.0.0.1:65536/a", "'127.0.0.1:65536' cannot be a registry"),
        ("ghcr.io:0/a", "'ghcr.io:0' cannot be a registry"),
        ("[1:2]:5000/a", "'[1:2]:5000' cannot be a registry"),
        ("[::g]/a", "'[::g]' cannot be a registry"),
        ("[::1]x/a", "'[::1]x' cannot be a registry"),
        ("a..b/a", "'a..b' cannot be a registry"),
        (f"{'a' * 64}.example/a", "cannot be a registry"),
        ("user@ghcr.io/a", "after the @"),
        ("ghcr.io:port/a", "'ghcr.io:port' cannot be a registry"),
        ("ghcr.io/a?b=c", "'a?b=c' cannot be a repository"),
    ],
)
def test_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match="is not an image reference") as caught:
        Reference.parse(text)
    assert problem in str(caught.value)


@given(st.text(max_size=40))
def test_whatever_is_read_is_read_again(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except ValueError:
        return
    assert Reference.parse(str(reference)) == reference
    assert not set(str(reference)) & set("?#% \n\\")
