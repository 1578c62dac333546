"""HTTP/1.1 and gRPC: connections, middleware, bodies and sockets."""
