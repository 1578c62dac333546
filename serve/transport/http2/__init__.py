"""gRPC over HTTP/2 in the server's own event loop, in place of grpcio's (``--grpc-server grpcio``).

=================  ==========================================================================
``frames.py``      the bytes of HTTP/2: frames, settings, error codes (RFC 9113)
``fields.py``      header blocks: what a call asks for, what an answer begins and ends with
``link.py``        the transport of one client: what is sent, how patient we are, when it is over
``reader.py``      what that client sends, cut into frames
``connection.py``  that client's frames, and its calls
``stream.py``      one call on a connection: messages in, messages out
``call.py``        one call as the methods see it, from the first byte to its status
``server.py``      the ports, the methods, and the end of both
=================  ==========================================================================
"""
