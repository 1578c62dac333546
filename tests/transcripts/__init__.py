"""What bookserve 0.1.0 answered to some hundred requests over HTTP, gRPC and the command line, and its replay.

The requests are data (``http_*.py``, ``grpc_*.py``, ``commands.py``), the answers are in ``recorded/``. Nothing here
imports a room of bookserve, so that modules may move: servers and commands are started by ``python -m bookserve``,
and gRPC messages come from ``messages.binpb``, the descriptors of 0.1.0. Record again, where behaviour changes on
purpose, with ``python -m tests.transcripts.record`` and read the difference.
"""
