"""bookserve's own API (rows, prompts and pictures): HTTP below ``/api``, and gRPC."""
