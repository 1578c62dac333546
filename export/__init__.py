"""The exporter: write trained models as bundles of SavedModel and ONNX, and verify that both give the same answers."""
