"""The way of requests to another tier and of their answers back."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
"""A tier that comes and goes is told in our own log; gRPC reads this as it begins."""
