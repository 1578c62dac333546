"""Requests and messages that the server and the client share.

``requests.py`` has the requests of bookserve's own API; ``native_json.py`` and ``native_messages.py`` convert rows and
answers to JSON and to the messages of ``native.proto``. ``tfserving.proto`` and ``oip.proto`` are the messages of
TensorFlow Serving and the Open Inference Protocol. ``make protos`` generates the ``_pb2`` modules.
"""

#: Key of the trailing metadata of a failed gRPC call that holds the error's hint (UTF-8). The error's message is in the
#: status details. The key is present whenever bookserve itself reported the error.
HINT = "bookserve-hint-bin"
