"""Serve every model of *Deep Learning with R*, and call it: ``from bookserve import connect``.

This package is the library that programs import. Importing it imports nothing else; ``connect`` and ``connect_async``
are loaded at first use, and everything else lives in the module that bears its name (``bookserve.steps``,
``bookserve.bundle``, …). The programs behind the command ``bookserve`` are the packages ``trainers``, ``export``,
``serve`` and ``clients``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bookserve.client import connect as connect
    from bookserve.client import connect_async as connect_async

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name in ("connect", "connect_async"):
        return getattr(importlib.import_module("bookserve.client"), name)
    raise AttributeError(f"module 'bookserve' has no attribute '{name}'")
