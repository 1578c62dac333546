"""ONNX forms of the gradient operators of TensorFlow."""
