"""Addresses and credentials of S3-compatible buckets, and what a server says of a request.

Rule: nothing is contacted that nobody has named. Without credentials obstore would ask the metadata
service at 169.254.169.254 for some, on any machine, and wait for it. This module needs no obstore.
"""

from __future__ import annotations

import os
import re

from everfold.streams.border.addresses import masked_address, masked_text
from everfold.streams.errors import Misconfigured

CREDENTIALS = (
    ("AWS_ACCESS_KEY_ID",),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI",),
    ("AWS_METADATA_ENDPOINT",),
)
"""Variables that say where credentials are from: all of one row."""

NO_CREDENTIALS = "AWS_SKIP_SIGNATURE"
"""Variable that is `true` for a bucket that needs none."""

_ADDRESS = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]*(?:/[^/]+)*/?")


_MESSAGE = re.compile(r"<Message>([^<]+)</Message>")


def check_bucket(url: str) -> None:
    """Check an address of the form s3://bucket/prefix.

    Raises Misconfigured for another form, and for one that carries credentials or options.
    """
    if "@" in url or "?" in url:
        raise Misconfigured(
            f"{masked_address(url)!r} carries credentials or options, and addresses are stored "
            "and shown: set them by AWS_ variables"
        )
    parts = url.split("/")[3:]
    if not _ADDRESS.fullmatch(url) or {".", ".."} & set(parts) or not url.isprintable():
        raise Misconfigured(f"{masked_address(url)!r} is no bucket: write s3://bucket/prefix")


def check_credentials(url: str) -> None:
    """Raise Misconfigured where no variable says where credentials are from."""
    if os.environ.get(NO_CREDENTIALS, "").lower() in ("true", "1"):
        return
    if not any(all(map(os.environ.get, row)) for row in CREDENTIALS):
        raise Misconfigured(
            f"{url} needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for the "
            "role of an EC2 instance set AWS_METADATA_ENDPOINT=http://169.254.169.254"
        )


def told(error: Exception) -> str:
    """Return what a store says of a request, without the dump of obstore's state."""
    first = str(error).strip().partition("\n")[0].partition(": <?xml")[0]
    if first.endswith("builder error"):
        first += " (a server at http:// needs AWS_ALLOW_HTTP=true)"
    meant = _MESSAGE.search(str(error))
    return masked_text(f"{first}: {meant[1]}" if meant else first)
