"""sign(): which key vouches for an image, and for which statements about it. `doit sign` does it, in the registry.

Signing needs a secret and a registry, and makes another signature each time: it is no action, whose result could be kept or sent to
another machine. The declaration says what is to be signed; building it builds that, and signs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from enginewright.graph.attributes import AttributeProblem, Needs
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule, declaration


@dataclass(frozen=True, kw_only=True)
class Sign(Rule):
    """``subject``, an image, is to be signed with ``key``, together with ``attestations``: provenance() and sbom() targets about it.

    ``key`` says where the private key is: ``file:PATH``, ``env:NAME`` for a variable that holds it, or ``pkcs11:...`` in a token. It is
    used by `doit sign` and `doit release`, and by nothing else.
    """

    kind: ClassVar[str] = "sign"
    provides: ClassVar[Mapping[str, str]] = {}

    subject: Annotated[Label, Needs("layout")]
    attestations: tuple[Label, ...] = ()
    key: str

    def check(self) -> None:
        from enginewright.attest.keys import check_uri

        if problem := check_uri(self.key):
            raise AttributeProblem("key", problem)
        if self.subject in self.attestations:
            raise AttributeProblem("attestations", f"{self.subject} is what is signed: name statements about it")

    def action(self, context: Context) -> None:
        """None; but what is named must say something."""
        from enginewright.attest.attestations import STATEMENTS

        for label in self.attestations:
            if not set(STATEMENTS) & context.outputs(label).keys():
                raise AttributeProblem("attestations", f"{label} says nothing of an image: name a provenance() or an sbom()")


sign = declaration(Sign)
