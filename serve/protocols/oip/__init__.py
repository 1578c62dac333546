"""The Open Inference Protocol with Triton's extensions, over HTTP under ``/v2`` and over gRPC."""
