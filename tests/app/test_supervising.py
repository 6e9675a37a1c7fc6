import pytest

from server.app.command import UsageError
from server.app.supervising import supervise
from server.settings import read
from server.supervisor.words import read_up

TOKENS = {"jwt_jwks": "keys.json", "jwt_issuer": "i", "jwt_audience": "a"}


@pytest.mark.parametrize(
    ("words", "given", "sentence"),
    [
        (["--all=2"], {"tls_certificate": "c", "tls_key": "k"}, "asks its processes without TLS"),
        (["--all=2"], {"api_keys": "keys"}, "say so by --anonymous-rights=metrics"),
        (["--all=2"], TOKENS, "say so by --anonymous-rights=metrics"),
        (["--all=2"], {"anonymous_rights": "inference"}, "say so by --anonymous-rights=metrics"),
        (["--predict=1"], {**TOKENS, "anonymous_rights": "metrics"}, "has no certificates for tiers"),
    ],
)
def test_a_fleet_that_would_close_less_than_it_says_is_not_started(words, given, sentence):
    with pytest.raises(UsageError, match=sentence):
        supervise(read_up(words), given, False, read({**given, "model_repository": ["models"]}, {}))
