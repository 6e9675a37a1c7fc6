"""Channels to other tiers, to a real server of gRPC that has one certificate or another."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from server.security.certificates import CertificateFiles, CertificatesUnusable
from server.stages.hop.channels import PLAIN, Channels
from tests.certificates import Authority, Pair

METHOD = "/any.Service/Method"


def credentials_of(shows: Pair, ca: Path) -> grpc.ServerCredentials:
    pair = (shows.key.read_bytes(), shows.certificate.read_bytes())
    return grpc.ssl_server_credentials([pair], ca.read_bytes(), require_client_auth=True)


@asynccontextmanager
async def served(shows: Pair | None, ca: Path | None) -> AsyncIterator[str]:
    """The address of a server that asks its callers for a certificate of this authority."""

    async def answer(wire: bytes, context: object) -> bytes:
        return wire

    server = grpc.aio.server()
    handlers = {"Method": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("any.Service", handlers),))
    if shows is None or ca is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials_of(shows, ca))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def asked(channels: Channels, address: str, host: str = "127.0.0.1") -> bytes:
    async with channels.open(address, host, ()) as channel:
        return await channel.unary_unary(METHOD)(b"hello", timeout=10)


def files(pair: Pair, ca: Path) -> Channels:
    return Channels(CertificateFiles(pair.certificate, pair.key, ca))


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


async def test_two_of_one_authority_know_each_other(authority):
    async with served(authority.pair("there"), authority.ca) as address:
        assert await asked(files(authority.pair("here"), authority.ca), address) == b"hello"


async def test_a_certificate_is_for_the_name_that_the_operator_wrote(authority):
    there = authority.pair("there", ("predict.example",))
    channels = files(authority.pair("here"), authority.ca)
    async with served(there, authority.ca) as address:
        assert await asked(channels, address, "predict.example") == b"hello"
        for host in ("post.example", "127.0.0.1"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asked(channels, address, host)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("false", ["here", "there"])
async def test_who_is_of_another_authority_is_refused_by_either_side(authority, tmp_path, false):
    other = Authority(tmp_path, "other")
    here, there = (other if false == side else authority for side in ("here", "there"))
    async with served(there.pair("there"), authority.ca) as address:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asked(files(here.pair("here"), authority.ca), address)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_who_speaks_no_tls_is_refused_by_either_side(authority):
    async with served(authority.pair("there"), authority.ca) as address:
        with pytest.raises(grpc.aio.AioRpcError):
            await asked(PLAIN, address)
    async with served(None, None) as address:
        with pytest.raises(grpc.aio.AioRpcError):
            await asked(files(authority.pair("here"), authority.ca), address)
        assert await asked(PLAIN, address) == b"hello"


async def test_files_that_replace_others_are_used_by_the_next_channel(authority, tmp_path):
    channels = files(authority.pair("here"), authority.ca)
    async with served(authority.pair("there"), authority.ca) as address:
        Authority(tmp_path, "other").pair("here")
        with pytest.raises(grpc.aio.AioRpcError):
            await asked(channels, address)
        authority.pair("here")
        assert await asked(channels, address) == b"hello"
        (tmp_path / "here.key").unlink()
        assert await asked(channels, address) == b"hello"  # by what was there before


def test_files_that_cannot_be_used_are_told_at_the_start(authority, tmp_path):
    with pytest.raises(CertificatesUnusable, match=r"none\.key cannot be read"):
        Channels(CertificateFiles(authority.pair("here").certificate, tmp_path / "none.key", authority.ca))
