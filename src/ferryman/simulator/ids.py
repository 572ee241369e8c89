"""Ids that look like Anthropic's and follow from a digest, so that the same request gets the same ones."""

import base64
import hashlib

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def stable_id(prefix: str, digest: bytes, salt: str = "") -> str:
    """`prefix`, `_01` and 22 characters that follow from `digest` and `salt`."""
    number = int.from_bytes(hashlib.sha256(prefix.encode() + salt.encode() + digest).digest(), "big")
    letters = []
    for _ in range(22):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return f"{prefix}_01{''.join(letters)}"


def signature(digest: bytes) -> str:
    """A stand-in for the signature of a thinking block: base64 of about the usual length."""
    return base64.b64encode(b"".join(hashlib.sha256(digest + bytes([n])).digest() for n in range(6))).decode()
