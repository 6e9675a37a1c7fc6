"""A time ends where the answer came in, not where the generator looked."""

import socket
import time

import pytest

from benchmarks.scheduling.stamped import connected


@pytest.fixture
def pair():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stamped = connected(*listening.getsockname())
        other, _ = listening.accept()
        with stamped, other:
            yield stamped, other


def test_it_tells_how_long_the_newest_bytes_have_been_there(pair):
    stamped, other = pair
    other.sendall(b"one")
    time.sleep(0.03)
    other.sendall(b" two")
    time.sleep(0.05)
    assert stamped.recv(100) == b"one two"
    assert 0.05 <= stamped.waited_s < 1


def test_what_is_read_at_once_was_there_for_no_time(pair):
    stamped, other = pair
    stamped.settimeout(5)
    other.sendall(b"now")
    assert stamped.recv(2) == b"no"
    assert 0.0 <= stamped.waited_s < 0.05
    other.close()
    assert stamped.recv(2) == b"w"
    assert (stamped.recv(2), stamped.waited_s) == (b"", 0.0)


def test_nobody_there_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
    with pytest.raises(OSError, match="refused"):
        connected(*address)
