"""Ed25519 signatures of manifests: 64 raw bytes in `manifest.json.sig`, over the bytes of `manifest.json`.

`openssl pkeyutl -sign -rawin` makes the same. The one door of the package cryptography, which is an extra.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Verify = Callable[[bytes, bytes], bool]
"""(signature, content) -> whether the holder of the private key signed this content."""


class KeyUnusable(Exception):
    """A key file that cannot be used. `str(error)` is a sentence for the operator."""


def read_public_key(path: Path) -> Verify:
    """Raises `KeyUnusable`."""
    serialization, ed25519, invalid = _cryptography()
    key = _read(path, lambda content: serialization.load_pem_public_key(content))
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise KeyUnusable(f"{path} holds no Ed25519 public key")

    def verify(signature: bytes, content: bytes) -> bool:
        try:
            key.verify(signature, content)
        except invalid:
            return False
        return True

    return verify


def sign(key_file: Path, content: bytes) -> bytes:
    """Raises `KeyUnusable`."""
    serialization, ed25519, _ = _cryptography()
    key = _read(key_file, lambda content: serialization.load_pem_private_key(content, None))
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise KeyUnusable(f"{key_file} holds no Ed25519 private key")
    signature: bytes = key.sign(content)
    return signature


def _read(path: Path, load: Callable[[bytes], Any]) -> Any:
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise KeyUnusable(f"the key {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError) as error:  # TypeError: it wants a password
        raise KeyUnusable(f"{path} is no key in PEM, or wants a password") from error


def _cryptography() -> tuple[Any, Any, type[Exception]]:
    try:
        from cryptography.exceptions import InvalidSignature  # here: an extra, and slow to import
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise KeyUnusable("signatures need the package cryptography: pip install 'tercet[signed]'") from None
    return serialization, ed25519, InvalidSignature
