"""HTTP/1.1 and gRPC transport: connections, middleware, bodies, sockets. It knows no protocol."""
