"""Describe variants: smaller or faster ONNX files of a graph, beside the float32 file in the same version.

A variant is ``variants/<name>/<file>`` in the version directory; ``bundle.json`` has its accuracy and speed.
"""

from __future__ import annotations

import msgspec

#: Name of a variant → what is done to the graph.
VARIANTS = {
    "optimised": "operators fused in advance by ONNX Runtime, float32 as before",
    "float16": "weights and arithmetic in half precision, inputs and outputs in float32",
    "int8-dynamic": "weights of matrices, embeddings and LSTMs in 8 bits, scales of their inputs computed in each run",
    "int8-static": "weights and activations of matrices and convolutions in 8 bits, scales computed on the examples",
}


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """The file of one graph in a variant, compared with float32 on the bundle's examples."""

    #: Path inside the version directory.
    file: str
    bytes: int
    #: Number of rows that were compared.
    rows: int
    #: Largest difference of any output.
    difference: float
    #: Root mean square of the differences, divided by the standard deviation of the outputs.
    deviation: float
    #: Share of the rows with the same label; None if there are no labels.
    agreement: float | None = None
    #: Mean difference of the final numbers, in their unit; None if there are none.
    shift: float | None = None
    #: Milliseconds of float32 and of this variant, measured in turns on one thread: for ``load``, and by batch size.
    milliseconds: dict[str, tuple[float, float]] = {}

    def faster(self, what: str) -> float | None:
        """How many times as fast as float32; None if this was not measured."""
        if what not in self.milliseconds:
            return None
        float32, this = self.milliseconds[what]
        return float32 / this
