import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.domain.errors import NotKnown
from server.security.rights import Right
from server.security.tokens import LEEWAY_S, KeySetUnusable, TokenRule, read_key_set
from tests.security.tokens import AUDIENCE, ISSUER, NOW, Issuer, key_set

RULE = TokenRule(ISSUER, AUDIENCE, "tercet_rights")
FIRST, OTHER = Issuer(), Issuer("other")
KEYS = read_key_set(key_set(FIRST.public(), OTHER.public()))


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_good_token_says_who_its_bearer_is_and_how_long(algorithm):
    issuer = Issuer("k", algorithm)
    vouched = RULE.read(issuer.token(("inference", "metrics")), read_key_set(key_set(issuer.public())), NOW)
    assert vouched.caller.name == "somebody"
    assert vouched.caller.rights == {Right.INFERENCE, Right.METRICS}
    assert vouched.until == NOW + 3600 + LEEWAY_S


@pytest.mark.parametrize(
    ("claim", "rights"),
    [
        (["control", "pets"], {"control"}),
        ("inference control openid", {"inference", "control"}),
        ([], set()),
        ("", set()),
        (None, set()),
        ({"inference": True}, set()),
        (7, set()),
        ([["inference"]], set()),
    ],
)
def test_rights_are_read_from_a_list_or_from_words_and_from_nothing_else(claim, rights):
    assert RULE.read(FIRST.token(claim), KEYS, NOW).caller.rights == rights


@pytest.mark.parametrize("claim", ["exp", "iss", "aud", "sub"])
def test_a_token_without_a_claim_that_is_asked_for_is_refused(claim):
    with pytest.raises(NotKnown):
        RULE.read(FIRST.token(leave_out=claim), KEYS, NOW)


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://somebody.example"},
        {"aud": "another"},
        {"aud": ["another"]},
        {"exp": int(NOW) - LEEWAY_S},
        {"exp": "soon"},
        {"nbf": int(NOW) + LEEWAY_S + 1},
    ],
)
def test_a_token_for_somebody_else_or_of_another_time_is_refused(claims):
    with pytest.raises(NotKnown):
        RULE.read(FIRST.token(**claims), KEYS, NOW)


def test_a_name_that_is_no_text_becomes_some():
    assert RULE.read(FIRST.token(sub="\ud800x"), KEYS, NOW).caller.name == "?x"


def test_clocks_may_differ_a_little():
    assert RULE.read(FIRST.token(exp=int(NOW) - LEEWAY_S + 1), KEYS, NOW)
    assert RULE.read(FIRST.token(nbf=int(NOW) + LEEWAY_S), KEYS, NOW)


def test_who_is_meant_may_be_one_of_several():
    assert RULE.read(FIRST.token(aud=["another", AUDIENCE]), KEYS, NOW)


def test_a_token_is_good_by_the_key_that_it_names_alone():
    with pytest.raises(NotKnown):
        RULE.read(FIRST.token(kid="other"), KEYS, NOW)
    with pytest.raises(NotKnown):
        RULE.read(FIRST.token(kid="third"), KEYS, NOW)


CLAIMS = {"sub": "x", "iss": ISSUER, "aud": AUDIENCE, "exp": int(NOW) + 60, "tercet_rights": ["control"]}


def signed(algorithm: str, secret: bytes | None) -> bytes:
    """A token as no library would make it: by a secret, or by nothing."""
    head, body = (
        jwt.utils.base64url_encode(json.dumps(part).encode())
        for part in ({"alg": algorithm, "kid": "first", "typ": "JWT"}, CLAIMS)
    )
    said = b".".join([head, body])
    signature = b"" if secret is None else hmac.digest(secret, said, "sha256")
    return b".".join([said, jwt.utils.base64url_encode(signature)])


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "ES256", "", "nobody's"])
def test_a_token_that_is_not_signed_is_refused(algorithm):
    with pytest.raises(NotKnown):
        RULE.read(signed(algorithm, None), KEYS, NOW)


def test_a_public_key_is_no_secret_to_sign_by():
    pem = FIRST.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(NotKnown):
        RULE.read(signed("HS256", pem), KEYS, NOW)


def test_a_changed_token_is_refused():
    head, _, signature = FIRST.token(("inference",)).split(b".")
    _, body, _ = FIRST.token(("control",)).split(b".")
    with pytest.raises(NotKnown):
        RULE.read(b".".join([head, body, signature]), KEYS, NOW)


@pytest.mark.parametrize("token", [b"", b"..", b"a.b.c", b"x" * 9000, b"\xff.\xff.\xff", b"." * 9000])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(NotKnown):
        RULE.read(token, KEYS, NOW)


def test_a_set_of_one_key_needs_no_name_for_it():
    alone = read_key_set(key_set(FIRST.public()))
    token = FIRST.token(kid="")
    assert RULE.read(token, alone, NOW)
    with pytest.raises(NotKnown):
        RULE.read(token, KEYS, NOW)


def test_keys_that_sign_nothing_are_left_out():
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}
    encrypts = Issuer("encrypts").public(use="enc")
    wrong = Issuer("wrong", "RS256").public(alg="HS256")
    unknown = {"kty": "OKP", "crv": "X25519", "x": "AAAA", "kid": "unknown"}
    broken = {"kty": "RSA", "kid": "broken"}
    several = key_set(FIRST.public(), secret, encrypts, wrong, unknown, broken, {})
    assert read_key_set(several).keys() == {"first", ""}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"keys": 3}',
        b'{"keys": []}',
        b'{"keys": [3]}',
        b'{"keys": [{}]}',
        key_set({"kty": "oct", "k": "c2VjcmV0"}),
        key_set({"kty": "RSA", "kid": "x"}),
    ],
)
def test_what_is_no_set_of_keys_is_told(text):
    with pytest.raises(KeySetUnusable):
        read_key_set(text)


def test_a_key_that_names_its_algorithm_has_signed_by_no_other():
    pss, pkcs = Issuer("k", "PS256"), Issuer("k", "RS256")
    pss.key = pkcs.key
    bound = read_key_set(key_set(pkcs.public(alg="RS256")))
    assert RULE.read(pkcs.token(), bound, NOW)
    with pytest.raises(NotKnown):
        RULE.read(pss.token(), bound, NOW)
