"""HTTP/1.1: connection limits, middleware, request and response bodies, streams, the fast path."""
