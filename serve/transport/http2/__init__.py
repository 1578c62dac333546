"""A gRPC server on HTTP/2 (RFC 9113) for asyncio, in place of grpcio's.

It needs only grpcio's types and the package ``hpack``, and imports nothing else of bookserve. A module imports only
those below it:

====================  =================================================================================
``server.py``         sockets, methods and interceptors, start and shutdown
``connection.py``     one client's connection: frames in and out, windows, limits, timeouts, GOAWAY
``call.py``           one gRPC call as its method sees it, from its headers to its status
``stream.py``         the HTTP/2 stream of a call: messages in and out, flow control
``frame_reader.py``   splits the bytes that a client sends into frames
``header_blocks.py``  decodes the headers of requests, encodes those of responses (HPACK)
``frame_budget.py``   what a client may ask for without giving work
``held_bytes.py``     counts what the server holds of unfinished requests and unread answers
``sync_methods.py``   runs methods that are not coroutines in threads
``frames.py``         encodes and decodes frames, settings and error codes
``config.py``         the limits that a server keeps to
====================  =================================================================================

    server = Server(Config(max_message_size=4 * 2**20))
    add_GreeterServicer_to_server(Greeter(), server)
    server.listen(socket.create_server(("127.0.0.1", 0)))
    await server.start()

There is no push, no prioritisation and no HTTP for browsers.
"""
