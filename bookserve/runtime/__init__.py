"""Runtimes: what executes a graph. Only this package opens sessions of ONNX Runtime or TensorFlow."""
