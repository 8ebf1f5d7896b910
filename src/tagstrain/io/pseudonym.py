"""Names that stand for identifiers without giving them away: `pseudonym`."""

from __future__ import annotations

from hashlib import blake2b


def pseudonym(text: str, salt: bytes) -> str:
    """Stand-in for an identifier: the same for the same text and salt, of no use to those who lack the salt.

    Parameters
    ----------
    salt
        Secret of up to 64 bytes, without which the text cannot be found by trying.

    Returns
    -------
        12 hexadecimal digits.
    """
    return blake2b(text.encode(), key=salt, digest_size=6).hexdigest()
