"""What a bundle is made from: a Run, or an external Keras, ONNX or SavedModel file."""
