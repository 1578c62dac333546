"""The exporter: a trained model becomes a bundle of SavedModel and ONNX, proved equal."""
