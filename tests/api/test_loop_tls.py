"""TLS by contexts that are replaced, asked by a client of Python's own."""

import shutil
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.api.loop_tls import LoopTls
from server.security.certificates import CertificateFiles
from tests.certificates import Authority
from tests.e2e_security.tls import trusting

WITHIN_S = 20


class Door:
    """Shakes hands with one client after another."""

    def __init__(self, tls: LoopTls, client: ssl.SSLContext) -> None:
        self._tls = tls
        self._client = client

    def greet(self, session: ssl.SSLSession | None = None) -> ssl.SSLSession | None:
        """The session of a connection that was made, which may go on with that of another."""
        here, there = socket.socketpair()
        here.settimeout(WITHIN_S)
        there.settimeout(WITHIN_S)
        with ThreadPoolExecutor(1) as thread, here, there:
            answering = thread.submit(self._answer, here)
            try:
                with self._client.wrap_socket(there, server_hostname="localhost", session=session) as greeted:
                    assert greeted.recv(2) == b"hi"
                    return greeted.session
            finally:
                answering.exception(WITHIN_S)

    def _answer(self, here: socket.socket) -> None:
        with self._tls.context.wrap_socket(here, server_side=True) as greeting:
            greeting.send(b"hi")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_was_let_in_under_an_old_authority_is_not_let_in_by_that_again(tmp_path, version):
    old, new = Authority(tmp_path), Authority(tmp_path, "new")
    accepted = tmp_path / "clients.pem"
    shutil.copy(old.ca, accepted)
    tls = LoopTls(CertificateFiles(*old.pair("server"), accepted), "http/1.1")
    client = trusting(old.ca, old.pair("client"))
    client.maximum_version = version
    door = Door(tls, client)
    session = door.greet()
    assert door.greet(session)
    shutil.copy(new.ca, accepted)
    tls.read_again()
    with pytest.raises((ssl.SSLError, OSError)):
        door.greet(session)
