"""Who issues tokens: keys, the set that tells of them, and what they sign."""

import json
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER, AUDIENCE = "https://issuer.example", "tercet"
NOW = 1_700_000_000.0


def _made(algorithm: str) -> Any:
    match algorithm[:2]:
        case "ES":
            return ec.generate_private_key(ec.SECP256R1())
        case "Ed":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(65537, 2048)


@dataclass
class Issuer:
    """One key, by its `kid`."""

    kid: str = "first"
    algorithm: str = "ES256"
    key: Any = field(init=False)

    def __post_init__(self) -> None:
        self.key = _made(self.algorithm)

    def public(self, **more: Any) -> dict[str, Any]:
        """As a set has it."""
        kinds = {"ES": jwt.algorithms.ECAlgorithm, "Ed": jwt.algorithms.OKPAlgorithm}
        kind = kinds.get(self.algorithm[:2], jwt.algorithms.RSAAlgorithm)
        return {**json.loads(kind.to_jwk(self.key.public_key())), "kid": self.kid, "use": "sig", **more}

    def token(
        self,
        rights: Any = ("inference",),
        *,
        now: float = NOW,
        kid: str | None = None,
        leave_out: str = "",
        **more: Any,
    ) -> bytes:
        """One that is good for an hour, but for what is said otherwise; an empty `kid` is none."""
        claims = {
            "sub": "somebody",
            "iss": ISSUER,
            "aud": AUDIENCE,
            "exp": int(now) + 3600,
            "tercet_rights": list(rights) if isinstance(rights, tuple) else rights,
            **more,
        }
        claims.pop(leave_out, None)
        named = self.kid if kid is None else kid
        return jwt.encode(claims, self.key, self.algorithm, {"kid": named} if named else {}).encode()


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()
