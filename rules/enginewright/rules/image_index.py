"""image_index(): several images under one name, for tools that choose one by its platform or its annotations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from enginewright.graph.action import Action
from enginewright.graph.attributes import AttributeProblem, Needs
from enginewright.graph.label import Label
from enginewright.graph.rule import Context, Rule, declaration
from enginewright.oci.layout import write_index
from enginewright.rules.image import check_annotations


@dataclass(frozen=True, kw_only=True)
class ImageIndex(Rule):
    """An index of ``images``, the one that is to be taken by tools that know no better first.

    For each image the index has the platform that its configuration names, and the annotations of its manifest. Two images for one
    platform must differ in these. ``annotations`` are the index's own.
    """

    kind: ClassVar[str] = "image_index"
    provides: ClassVar[Mapping[str, str]] = {"layout": ""}

    images: tuple[Annotated[Label, Needs("layout")], ...]
    annotations: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        if not self.images:
            raise AttributeProblem("images", "is empty: an index needs at least one image")
        for image in self.images:
            if self.images.count(image) > 1:
                raise AttributeProblem("images", f"{image} is listed twice")
        check_annotations(self.annotations)

    def action(self, context: Context) -> Action:
        return Action(
            mnemonic="ImageIndex",
            run="enginewright.rules.image_index:assemble",
            inputs={f"image_{number}": context.input(image, "layout") for number, image in enumerate(self.images)},
            outputs={"layout": context.output("", tree=True)},
            params={"annotations": self.annotations},
        )


image_index = declaration(ImageIndex)


def assemble(inputs: Mapping[str, Path], outputs: Mapping[str, Path], params: Mapping[str, Any]) -> None:
    """Write the layout of the index. Raises ActionError as `write_index` does."""
    write_index(outputs["layout"], [inputs[f"image_{number}"] for number in range(len(inputs))], params["annotations"])
