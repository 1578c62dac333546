"""Composites made by hand: ``chain`` runs ``affine`` twice, ``y = 2 (2 x + 1) + 1``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bookserve.bundle import Manifest, new_version, seal
from bookserve.bundle.examples import Example, Examples
from bookserve.graph import Graph, Member, TensorSpec
from bookserve.steps import Numbers
from bookserve.verb import Predict

ROW = TensorSpec("float32", ("batch", 3))


def member(graph: str, inputs: str, outputs: str, model: str = "", version: int = 0) -> Member:
    """A member whose own names of its tensors are the composite's."""
    takes, gives = ({name: name for name in names.split()} for names in (inputs, outputs))
    return Member(model=model, version=version, graph=graph, inputs=takes, outputs=gives)


def chain(model: str = "affine", version: int = 1, columns: int | str = 3) -> Graph:
    """``affine`` behind itself."""
    tensor = TensorSpec("float32", ("batch", columns))
    members = [
        Member(model=model, version=version, graph="serving_default", inputs={"x": before}, outputs={"y": after})
        for before, after in (("x", "between"), ("between", "y"))
    ]
    return Graph(inputs={"x": tensor}, outputs={"y": tensor}, members=tuple(members))


def write_composite(models: Path, name: str, graph: Graph) -> None:
    """The next version of a model that has this graph and nothing else."""
    with new_version(models, name) as directory:
        x = np.array([[0, 1, 2]], np.float32)
        Examples({"serving_default": Example({"x": x}, {"y": 4 * x + 3})}).save(directory / "examples.npz")
        verb = Predict(inputs={"x": (Numbers("float32", (3,)),)}, outputs={"y": ()})
        seal(directory, Manifest(name=name, verb=verb, graphs={"serving_default": graph}))
