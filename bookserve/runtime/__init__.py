"""Runtimes: what executes a graph. Only this package opens sessions of ONNX Runtime, TensorFlow and others."""

from bookserve.runtime.base import DeclaringSession, GraphHints, HintingSession, Runtime, Session, TensorDeclaration
from bookserve.runtime.composite import move_sessions, open_graph, open_onnx, open_sessions
from bookserve.runtime.device_session import DeviceSession
from bookserve.runtime.devices import DeviceConfig, parse_device
from bookserve.runtime.placement import resolve_device
from bookserve.runtime.registry import open_model_directory, open_model_file, open_session, register_runtime

__all__ = [
    "DeclaringSession",
    "DeviceConfig",
    "DeviceSession",
    "GraphHints",
    "HintingSession",
    "Runtime",
    "Session",
    "TensorDeclaration",
    "move_sessions",
    "open_graph",
    "open_model_directory",
    "open_model_file",
    "open_onnx",
    "open_session",
    "open_sessions",
    "parse_device",
    "register_runtime",
    "resolve_device",
]
