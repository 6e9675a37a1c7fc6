"""What may be the address of a repository."""

import sys

import pytest

from server.repository.remote.address import AddressRefused, read_address
from server.repository.remote.bucket import BucketStore


@pytest.mark.parametrize(
    ("text", "scheme", "url"),
    [
        ("s3://bucket/prefix/", "s3", "s3://bucket/prefix"),
        ("gs://bucket", "gs", "gs://bucket"),
        (
            "abfs://container@account.dfs.core.windows.net/x",
            "abfs",
            "abfs://container@account.dfs.core.windows.net/x",
        ),
        ("https://host:8443/models", "https", "https://host:8443/models"),
    ],
)
def test_an_address_has_a_scheme_and_no_slash_at_its_end(text, scheme, url):
    address = read_address(text)
    assert (address.scheme, address.url) == (scheme, url)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ftp://host/models", "a repository is a folder or one of s3://"),
        ("http://me:secret@host/models", "credentials do not belong into the address"),
        ("s3://secret@bucket/models", "credentials do not belong into the address"),
        ("https://host/models?sig=secret", "has a '?' or '#', and it must not"),
        ("s3:///models", "names no bucket and no host"),
    ],
)
def test_what_cannot_be_a_repository_is_refused_in_a_sentence_that_shows_no_secret(text, sentence):
    with pytest.raises(AddressRefused) as refusal:
        read_address(text)
    assert sentence in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_a_package_that_is_missing_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(AddressRefused, match=r"s3:// needs the package s3fs: pip install 'tercet\[remote\]'"):
        BucketStore(read_address("s3://bucket"))
