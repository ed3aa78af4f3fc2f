"""Authorities and certificates for tests of TLS, written into a folder as a server wants them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from everfold.embedded.engines import Engine, path_engines, wheel_engines
from tests.support.servers import own_server, tcp_address

DAY = timedelta(days=1)
HOSTS = ("localhost", "127.0.0.1")


class Certificates:
    """Two authorities: `ours` signs what is right, `foreign` what must not be trusted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ours, self._foreign = trustme.CA(), trustme.CA()
        self.authority, self.foreign_authority = folder / "ca.pem", folder / "foreign-ca.pem"
        self._ours.cert_pem.write_to_path(self.authority)
        self._foreign.cert_pem.write_to_path(self.foreign_authority)
        now = datetime.now(UTC)
        self._issue("good")
        self._issue("expired", start=now - 2 * DAY, end=now - DAY)
        self._issue("early", start=now + DAY, end=now + 2 * DAY)
        self._issue("elsewhere", "redis.example")
        self._issue("client", "client.example")
        self._issue("foreign", "client.example", authority=self._foreign)

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def both(self, name: str) -> Path:
        """Return a file with certificate and key."""
        file = self.folder / f"{name}-both.pem"
        file.write_bytes(self.key(name).read_bytes() + self.certificate(name).read_bytes())
        return file

    def _issue(
        self,
        name: str,
        *hosts: str,
        authority: trustme.CA | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        signer = authority or self._ours
        made = signer.issue_cert(*(hosts or HOSTS), not_before=start, not_after=end)
        made.private_key_pem.write_to_path(self.key(name))
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
        self.certificate(name).write_bytes(chain)


@contextmanager
def tls_server(
    engine: Engine,
    certificates: Certificates,
    name: str = "good",
    wants_client: bool = False,
    **more: str,
) -> Iterator[str]:
    """Start a server that shows the certificate of that name; yield its rediss:// URL.

    `more` are other settings of it. Skips the test when the server was built without TLS.
    """
    host, port = tcp_address()
    settings: dict[str, str] = {
        "tls_port": port,
        "tls_cert_file": str(certificates.certificate(name)),
        "tls_key_file": str(certificates.key(name)),
        "tls_ca_cert_file": str(certificates.authority),
        "tls_auth_clients": "yes" if wants_client else "no",
        **more,
    }
    with ExitStack() as stack:
        try:
            stack.enter_context(own_server(engine, tcp=True, conf=None, **settings))
        except RuntimeError as error:
            if "tls" not in str(error).lower():
                raise
            pytest.skip(f"{engine} was built without TLS")
        yield f"rediss://{host}:{port}/0"


def tls_engines() -> list[Engine]:
    """Return the server on PATH, and the wheel's."""
    found = (*list(path_engines(os.environ))[:1], *list(wheel_engines())[:1])
    return [engine for engine in found if not engine.is_too_old]
