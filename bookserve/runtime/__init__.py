"""Runtimes: what executes a graph. Only this package opens sessions of ONNX Runtime, TensorFlow and others."""

from bookserve.runtime.base import DeclaringSession, HintingSession, InputHints, Runtime, Session, TensorDeclaration
from bookserve.runtime.composite import open_graph, open_sessions
from bookserve.runtime.registry import open_model_directory, open_model_file, open_session, register_runtime

__all__ = [
    "DeclaringSession",
    "HintingSession",
    "InputHints",
    "Runtime",
    "Session",
    "TensorDeclaration",
    "open_graph",
    "open_model_directory",
    "open_model_file",
    "open_session",
    "open_sessions",
    "register_runtime",
]
