"""Backends beside ONNX Runtime's (``bookserve/backend.py``)."""
