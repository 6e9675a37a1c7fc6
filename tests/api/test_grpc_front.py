"""What the fast gRPC front asks of pygrpc-native."""

import pytest

from server.api.grpc_front import io_threads


@pytest.mark.parametrize(("processors", "threads"), [(1, 1), (2, 1), (3, 2), (64, 2)])
def test_one_thread_does_http2_where_one_processor_is_left_for_it(processors, threads):
    assert io_threads(processors) == threads
