"""gRPC services, interceptor and health, independent of the gRPC server (builtin or grpcio)."""
