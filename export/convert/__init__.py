"""From a SavedModel's signatures to ONNX, and what is added on the way."""
