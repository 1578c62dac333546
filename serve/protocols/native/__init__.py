"""bookserve's own API: rows, prompts and pictures, over HTTP under ``/api`` and over gRPC."""
