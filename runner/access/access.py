"""What lets a runner into one ComfyUI server, and what a person has said of that server.

Rule: HTTP and websocket use the same headers and the same context of TLS. No secret leaves this
struct but in a request.
"""

from __future__ import annotations

import ssl

from msgspec import Struct

from everfold.runner.access.address import Address
from everfold.runner.backend import NO_TRAITS, BackendTraits
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import Misconfigured


class Access(Struct, frozen=True, kw_only=True):
    """The way to one server. Files are paths; empty stands for none."""

    address: Address
    ca_file: str = ""
    """Authorities (PEM) that its certificate may be signed by, besides the known ones."""
    client_cert: str = ""
    """The certificate (PEM) that it wants to see, with its chain."""
    client_key: str = ""
    """Where it is not in the file of `client_cert`."""
    client_key_password: Secret = Secret("")
    traits: BackendTraits = NO_TRAITS

    @property
    def url(self) -> str:
        """The address as it is recorded: one spelling, without secrets."""
        return self.address.url

    @property
    def shown(self) -> str:
        """Return the server for people: its name, if it has one, and its address."""
        return f"{self.traits.title} {self.url}".strip()

    def ssl_context(self) -> ssl.SSLContext | None:
        """Read the files; None for http://. Raises Misconfigured for what cannot be used."""
        if not self.url.startswith("https://"):
            if self.ca_file or self.client_cert:
                raise self._invalid("url", "must begin with https:// for a certificate to count")
            return None
        import httpx  # here, because commands that only describe an access need none

        # The authorities that httpx brings, so that a machine without a list of its own works.
        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()
        if self.ca_file:
            self._load_authorities(context)
        if self.client_cert:
            self._load_certificate(context)
        elif self.client_key:
            raise self._invalid("client_key", "needs client_cert")
        return context

    def _load_authorities(self, context: ssl.SSLContext) -> None:
        try:
            context.load_verify_locations(self.ca_file)
        except (OSError, ValueError) as error:
            raise self._invalid("ca_file", f"cannot be used: {_why(error, self.ca_file)}") from None

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        # Without a password, OpenSSL would ask for it at the terminal.
        password = self.client_key_password.reveal
        try:
            context.load_cert_chain(self.client_cert, self.client_key or None, password)
        except (OSError, ValueError) as error:
            files = " and ".join(filter(None, (self.client_cert, self.client_key)))
            why = f"cannot be used: {_why(error, files)}"
            raise self._invalid("client_cert, with its client_key,", why) from None

    def _invalid(self, setting: str, why: str) -> Misconfigured:
        return Misconfigured(f"backend {self.traits.title or self.url}: {setting} {why}")


def _why(error: OSError | ValueError, files: str) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(error, ssl.SSLError):
        words = {
            "KEY_VALUES_MISMATCH": "the key is not that of the certificate",
            "BAD_DECRYPT": "client_key_password is wrong, or missing",
            "BAD_PASSWORD_READ": "client_key_password is wrong, or missing",
        }
        known = words.get(str(reason), "it holds no PEM of that kind, or a password is missing")
        return f"{known} ({files})"
    return f"{(getattr(error, 'strerror', None) or str(error)).lower()} ({files})"
