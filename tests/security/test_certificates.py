import ssl
from functools import partial

import pytest

from server.security.certificates import CertificateFiles, CertificatesUnusable
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def test_a_pair_is_read_as_it_is(authority):
    pair = authority.pair("server")
    found = CertificateFiles(pair.certificate, pair.key, authority.ca).read()
    assert found == (pair.certificate.read_bytes(), pair.key.read_bytes(), authority.ca.read_bytes())


def test_who_has_an_authority_for_clients_asks_them_for_a_certificate(authority):
    pair = authority.pair("server")
    assert CertificateFiles(*pair).context("h2").verify_mode is ssl.CERT_NONE
    assert CertificateFiles(*pair, authority.ca).context("h2").verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("file", ["certificate", "key", "ca"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nxx\n"])
def test_a_file_that_cannot_be_used_is_named(authority, file, content):
    pair = authority.pair("server")
    files = CertificateFiles(pair.certificate, pair.key, authority.ca)
    path = getattr(files, file)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    for use in (files.read, partial(files.context, "h2")):
        with pytest.raises(CertificatesUnusable, match=path.name):
            use()


def test_the_key_of_another_certificate_is_refused(authority):
    files = CertificateFiles(authority.pair("server").certificate, authority.pair("other").key)
    with pytest.raises(CertificatesUnusable, match="no certificate and its key"):
        files.context("h2")


def test_a_pair_that_is_replaced_while_it_is_read_is_not_taken_by_halves(authority):
    class Replaced(CertificateFiles):
        """Gets the key of the next certificate once the pair was held against each other."""

        def context(self, protocol: str) -> ssl.SSLContext:
            held = CertificateFiles.context(self, protocol)
            self.key.write_bytes(authority.pair("next").key.read_bytes())
            return held

    pair = authority.pair("server")
    with pytest.raises(CertificatesUnusable, match="were replaced while they were read"):
        Replaced(*pair).read()
    with pytest.raises(CertificatesUnusable, match="no certificate and its key"):
        CertificateFiles(*pair).read()


def test_an_encrypted_key_is_refused_without_a_question_at_the_terminal(authority, tmp_path):
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    key = tmp_path / "locked.key"
    key.write_bytes(locked)
    with pytest.raises(CertificatesUnusable, match="the key is encrypted"):
        CertificateFiles(authority.pair("server").certificate, key).context("h2")
