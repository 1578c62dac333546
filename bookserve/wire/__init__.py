"""Wire definitions of bookserve's own gRPC service, which the server answers and the client calls.

``home_pb2`` is generated from ``home.proto`` by ``make protos``.
"""
