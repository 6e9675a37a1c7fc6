"""Tokens (JWT, RFC 7519): what a good one says of its bearer, given the keys that may have signed it. Pure.

Source of what is refused: RFC 8725. Only asymmetric algorithms, and of them the one that belongs to the kind
of the key: a token does not choose how it is checked.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from server.domain.errors import NotKnown
from server.security.caller import Caller
from server.security.guard import Vouched
from server.security.rights import Right

LONGEST_TOKEN = 8192
LONGEST_NAME = 256
LEEWAY_S = 30
"""So far may the clock of who issues tokens be from ours."""

ALGORITHMS: Mapping[str, tuple[str, ...]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
"""By the kind of a key, as its `kty` has it."""

NO_KID = ""


class KeySetUnusable(Exception):
    """The sentence says what is wrong with a set of keys."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key of a set. `algorithms` are those that it may have signed by."""

    key: Any
    algorithms: tuple[str, ...]


KeySet = Mapping[str, SigningKey]
"""By their `kid`. A set of one key may do without it."""


@dataclass(frozen=True, slots=True)
class TokenRule:
    """Whose tokens are good here, and where they list their bearer's rights."""

    issuer: str
    audience: str
    rights_claim: str

    def read(self, token: bytes, keys: KeySet, now: float) -> Vouched:
        """Raises `NotKnown`. `now` is in seconds since the epoch."""
        signing = keys.get(kid_of(token))
        if signing is None:
            raise NotKnown("no key is known that has signed the token")
        try:
            claims = jwt.decode(
                token,
                signing.key,
                algorithms=list(signing.algorithms),
                issuer=self.issuer,
                audience=self.audience,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "verify_exp": False,  # below, by the time that is given
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            until, begins = float(claims["exp"]), float(claims.get("nbf", 0))
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError):
            raise NotKnown("the token is not good here") from None
        if not begins - LEEWAY_S <= now < until + LEEWAY_S:
            raise NotKnown("the token has expired, or is yet to become good")
        name = str(claims["sub"])[:LONGEST_NAME].encode("utf-8", "replace").decode()  # JSON has half pairs
        return Vouched(Caller(name, self._rights(claims)), until + LEEWAY_S)

    def _rights(self, claims: Mapping[str, Any]) -> frozenset[Right]:
        """A list, or words in one text as in OAuth's `scope`; what is no right of ours is passed over."""
        listed = claims.get(self.rights_claim)
        words = listed.split() if isinstance(listed, str) else listed
        if not isinstance(words, list):
            return frozenset()
        return frozenset(right for right in Right if right in words)


def kid_of(token: bytes) -> str:
    """Which key a token says to be signed by; it is not checked. Raises `NotKnown` for what is no token."""
    if len(token) > LONGEST_TOKEN or token.count(b".") != 2:
        raise NotKnown("the key is not known")
    try:
        kid = jwt.get_unverified_header(token).get("kid", NO_KID)
    except (jwt.PyJWTError, ValueError):
        raise NotKnown("the key is not known") from None
    return kid if isinstance(kid, str) else NO_KID


def read_key_set(text: bytes) -> KeySet:
    """A JWKS (RFC 7517). Keys that are not for signatures, symmetric, or not understood here are left out.

    Raises `KeySetUnusable`, also if nothing is left.
    """
    found: dict[str, SigningKey] = {}
    try:
        entries = json.loads(text)["keys"]
        for entry in entries:
            signing = _signing_key(entry)
            if signing is not None:
                found[str(entry.get("kid") or NO_KID)] = signing
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise KeySetUnusable(f"it is no set of keys (JWKS): {type(error).__name__}: {error}") from None
    if not found:
        raise KeySetUnusable("it has no key that could sign a token: RSA, EC or OKP, for signatures")
    if len(found) == 1:
        found.setdefault(NO_KID, next(iter(found.values())))
    return found


def _signing_key(entry: Mapping[str, Any]) -> SigningKey | None:
    """None for one that is of no use here, as an issuer's other keys are to stay in force beside it."""
    algorithms = ALGORITHMS.get(entry.get("kty", ""), ())
    if "alg" in entry:
        algorithms = tuple(each for each in algorithms if each == entry["alg"])
    if not algorithms or entry.get("use", "sig") != "sig":
        return None
    try:
        return SigningKey(jwt.PyJWK(dict(entry)).key, algorithms)
    except (jwt.PyJWTError, ValueError):
        return None
