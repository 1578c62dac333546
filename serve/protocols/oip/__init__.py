"""The Open Inference Protocol with Triton's extensions: HTTP below ``/v2``, and gRPC."""
