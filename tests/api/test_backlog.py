import socket
import struct

from pygrpc_native import NativeGrpcFront

from server.api.backlog import BACKLOG, lengthen_backlog
from server.api.own_sockets import lent, own_listeners

MOST_WAITING_AT = 28
"""In `struct tcp_info`, where a listener has how many connections may wait."""


def most_waiting(listener: socket.socket) -> int:
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
    return struct.unpack_from("I", info, MOST_WAITING_AT)[0]


def kernels_bound() -> int:
    with open("/proc/sys/net/core/somaxconn") as said:
        return int(said.read())


def test_a_listener_that_a_library_opened_has_as_many_wait_as_ours():
    front = NativeGrpcFront("127.0.0.1:0", [("/a.B/C", False)])
    try:
        lengthen_backlog(front.bound_port)
        (number,) = own_listeners(front.bound_port)
        with lent(number) as listener:
            assert most_waiting(listener) == min(BACKLOG, kernels_bound())
    finally:
        front.close()


def test_listeners_on_other_ports_stay_as_they_are():
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
            each.listen(7)
        lengthen_backlog(one.getsockname()[1])
        assert (most_waiting(one), most_waiting(other)) == (min(BACKLOG, kernels_bound()), 7)
