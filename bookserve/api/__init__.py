"""Wire definitions of bookserve's own gRPC service and JSON API, which the server answers and the client speaks.

``home_pb2`` is generated from ``home.proto`` by ``make protos``. A failed call has the error's message as its status
details and the hint (UTF-8) in the trailing metadata; the metadata also tells that the server itself refused.
"""

#: Key of that metadata.
HINT = "bookserve-hint-bin"
