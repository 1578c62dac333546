"""The command ``bookserve bench``: compare a served model's speed with ONNX Runtime alone."""
