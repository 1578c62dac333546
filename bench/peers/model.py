"""The model that every other server loads: the ONNX file of the environment variable MODEL, with one thread."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime  # noqa: TID253 - a server of its own

#: NumPy's types by ONNX's names.
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class Model:
    """The session, its first input and output, and their dtypes."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self.input, self.output = self.session.get_inputs()[0], self.session.get_outputs()[0]
        self.dtype, self.output_dtype = DTYPES[self.input.type], DTYPES[self.output.type]

    def run(self, array: np.ndarray) -> np.ndarray:
        """Run a batch."""
        return self.session.run([self.output.name], {self.input.name: array})[0]
