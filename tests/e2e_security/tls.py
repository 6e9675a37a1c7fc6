"""Clients that speak TLS: what each of them needs of certificates."""

import socket
import ssl
from pathlib import Path

import grpc
import httpx

from tests.certificates import Pair
from tests.server_process import Server


def trusting(ca: Path, shows: Pair | None = None) -> ssl.SSLContext:
    """Of a client that trusts this authority, and has this certificate of its own."""
    context = ssl.create_default_context(cafile=ca)
    if shows is not None:
        context.load_cert_chain(shows.certificate, shows.key)
    return context


def grpc_channel(address: str, ca: Path, shows: Pair | None = None) -> grpc.Channel:
    own = (None, None) if shows is None else (shows.key.read_bytes(), shows.certificate.read_bytes())
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), *own)
    return grpc.secure_channel(address, credentials, options=[("grpc.use_local_subchannel_pool", 1)])


def is_ready(server: Server, context: ssl.SSLContext) -> bool:
    try:
        return httpx.get(f"https://{server.http}/v2/health/ready", verify=context).status_code == 200
    except httpx.HTTPError:
        return False


def serial_of(address: str, context: ssl.SSLContext, protocol: str = "http/1.1") -> str:
    """The number of the certificate that a server shows to a new connection."""
    host, port = address.split(":")
    context.set_alpn_protocols([protocol])
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        shown = connection.getpeercert()
    assert shown is not None
    return str(shown["serialNumber"])
