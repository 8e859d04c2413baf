"""GRPC and GRPC_UNARY: calls of other gRPC servers, over connections that jobs share.

``order`` says what a job wants, ``schemas`` what its messages look like, ``connections`` keeps the connections,
``call`` makes one call, ``runner`` and ``unary_runner`` speak the messages of the two generations.
"""
