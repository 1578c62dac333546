"""Smaller and faster forms of an ONNX graph, kept only if the model still answers alike."""
