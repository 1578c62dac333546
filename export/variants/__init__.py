"""Smaller and faster variants of an ONNX graph, kept only if they are accurate enough."""
