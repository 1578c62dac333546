"""Conversion of a SavedModel to ONNX, and the graphs, signatures and requests that the exporter adds."""
