"""TensorFlow Serving's APIs: REST below ``/v1``, and gRPC."""
