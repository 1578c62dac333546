"""What every HTTP request shares: connection limits, middleware, bodies, streams, the fast path."""
