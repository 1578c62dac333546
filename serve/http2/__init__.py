"""gRPC over HTTP/2 in the server's own event loop, in place of grpcio's: ``--grpc-server builtin``.

=================  ==========================================================================
``frames.py``      the bytes of HTTP/2: frames, settings, error codes (RFC 9113)
``fields.py``      header blocks: what a call asks for, what an answer begins and ends with
``connection.py``  one client's connection: reads frames, holds to limits, shares out the windows
``stream.py``      one call on a connection: messages in, messages out
``call.py``        one call as the methods see it, from the first byte to its status
``server.py``      the ports, the methods, and the end of both
=================  ==========================================================================
"""
