"""TensorFlow's backward operators, written in ONNX's forward ones."""
