"""What a bundle is made from: a run of ours, or a Keras, ONNX or SavedModel file of somebody else."""
