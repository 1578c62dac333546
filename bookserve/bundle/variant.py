"""Variant: a smaller or faster form of a graph's ONNX file, kept in the same version beside the float32 one.

``variants/<name>/<file>`` inside a version's directory; ``bundle.json`` says what each costs and gains.
"""

from __future__ import annotations

import msgspec

#: By name, what is done to the graph.
VARIANTS = {
    "optimised": "operators fused ahead by ONNX Runtime, numbers as they were",
    "float16": "weights and arithmetic in half precision, inputs and outputs in float32",
    "int8-dynamic": "weights of matrices, tables and LSTMs in 8 bits, the scales of their inputs found in each run",
    "int8-static": "weights and activations of matrices and convolutions in 8 bits, scales found on the examples",
}


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One graph's file of a variant, and how it compared with float32 on the bundle's examples."""

    #: Inside the version's directory.
    file: str
    bytes: int
    #: How many rows were compared.
    rows: int
    #: Largest difference of any output.
    difference: float
    #: Root mean square of the differences, in parts of the outputs' own spread.
    deviation: float
    #: Share of the rows that keep their label; None where there are none.
    agreement: float | None = None
    #: Mean change of the numbers that a person reads, in their unit; None where there are none.
    shift: float | None = None
    #: Milliseconds of float32 and of this, measured in turns on one thread: to ``load``, and by rows of a batch.
    milliseconds: dict[str, tuple[float, float]] = {}

    def faster(self, what: str) -> float | None:
        """How many times as fast as float32; None where it was not measured."""
        if what not in self.milliseconds:
            return None
        float32, this = self.milliseconds[what]
        return float32 / this
