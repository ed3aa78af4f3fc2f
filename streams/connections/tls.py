"""The settings of TLS, and how they become options of the server's URL.

Rule: what the URL itself says comes before a setting, and settings of TLS never lead to a
connection without it. This file loads no library: every command imports it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, quote

from msgspec import Struct

from everfold.streams.border.addresses import masked_address
from everfold.streams.errors import Misconfigured

_NO = ("0", "f", "false", "n", "no", "off")


def has_tls(url: str) -> bool:
    """Say whether a URL of any form is one with TLS."""
    return url.startswith(("rediss://", "rediss+"))


class Tls(Struct, frozen=True):
    """What stands for the TLS options of a URL that does not have them. Empty means not set."""

    ca: str = ""
    """A file of authorities, besides those of the system."""
    cert: str = ""
    key: str = ""
    """Where it is not in the file of `cert`."""
    check_hostname: bool = True
    """False takes a certificate for any host; who signed it is checked all the same."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Tls:
        """Read REDIS_CA, REDIS_CERT, REDIS_KEY and REDIS_CHECK_HOSTNAME."""
        return cls(
            environ.get("REDIS_CA", ""),
            environ.get("REDIS_CERT", ""),
            environ.get("REDIS_KEY", ""),
            environ.get("REDIS_CHECK_HOSTNAME", "").lower() not in _NO,
        )

    def is_set(self) -> bool:
        """Say whether any of them is set."""
        return self != Tls()

    def added_to(self, url: str) -> str:
        """Return the URL with these options, except for those that it has already.

        Raises Misconfigured for redis:// and the like while any is set: the caller counts on TLS. A
        unix:// URL stays as it is, for what it says does not leave the machine.
        """
        scheme, _, query = url.partition("?")
        if not self.is_set() or scheme.startswith("unix://"):
            return url
        if not has_tls(url):
            raise Misconfigured(
                f"settings of TLS need a URL with rediss://, and the server is named as "
                f"{masked_address(url)!r}; write rediss://, or unset REDIS_CA, REDIS_CERT, "
                "REDIS_KEY and REDIS_CHECK_HOSTNAME (or the flags and keys of these names)"
            )
        there = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
        added = (f"{name}={quote(value)}" for name, value in self._options() if name not in there)
        return "&".join((f"{scheme}?{query}" if query else f"{scheme}?", *added)).replace("?&", "?")

    def _options(self) -> Iterator[tuple[str, str]]:
        if self.key and not self.cert:
            raise Misconfigured("REDIS_KEY is a client certificate's key: set REDIS_CERT as well")
        if self.ca:
            yield "ssl_ca_certs", os.path.abspath(self.ca)
        if self.cert:
            yield "ssl_certfile", os.path.abspath(self.cert)
        if self.key:
            yield "ssl_keyfile", os.path.abspath(self.key)
        if not self.check_hostname:
            yield "ssl_check_hostname", "false"
