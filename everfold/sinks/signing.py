"""Signs webhooks as the Standard Webhooks specification says (standardwebhooks.com).

Rule: pure. Id, time and body are signed with each secret, so that a receiver can change from one
secret to the next without losing a message.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from everfold.streams.border.secrets import Secret
from everfold.streams.errors import Misconfigured

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Length of a secret in bytes, by the specification."""


def read_secret(text: str | Secret) -> bytes:
    """Decode a secret: `whsec_` and base64.

    Raises Misconfigured, with a message that does not contain the secret.
    """
    try:
        secret = base64.b64decode(Secret(text).reveal().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Misconfigured(f"a webhook secret is {PREFIX} followed by base64: {error}") from error
    if not SHORTEST <= len(secret) <= LONGEST:
        raise Misconfigured(
            f"a webhook secret has {SHORTEST} to {LONGEST} bytes, this one has {len(secret)}; "
            f'make one with: echo "{PREFIX}$(openssl rand -base64 32)"'
        )
    return secret


def sign(secrets: Sequence[bytes], message_id: str, time_s: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a message."""
    signed = f"{message_id}.{time_s}.".encode() + body
    marks = (hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(time_s),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(mark).decode()}" for mark in marks),
    }
