"""A connection to the server for a process that sends one script: it loads fast and stays small.

Rule: it blocks, for `timeout_s` at most. After any OSError it is closed and a new one is made.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import NamedTuple, cast

import hiredis

from everfold.runner.renewal.messages import Server

CHUNK_BYTES = 65536

SHOWN_LIMIT = 200
"""Characters of an error reply that are kept."""

ELSEWHERE = ("READONLY", "MASTERDOWN", "UNBLOCKED", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN")
LATER = ("LOADING", "BUSY ", "MASTERDOWN", "DENIED", "ERR max number of clients")

_REDIRECT = re.compile(r"(MOVED|ASK) (\d{1,5}) (.*):(\d{1,5})")

_CERT_REQS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class Redirect(NamedTuple):
    """A slot is at another server: for good after MOVED, for one command after ASK."""

    word: str
    slot: int
    host: str
    """Empty for the host that was asked."""
    port: int


class ErrorReply(Exception):
    """The server answered with an error; the connection is as good as before."""

    @property
    def says_elsewhere(self) -> bool:
        """Whether another server is to be asked, or the same one a little later."""
        return str(self).startswith(ELSEWHERE)

    @property
    def redirect(self) -> Redirect | None:
        """The server that has the slot; None for another error."""
        found = _REDIRECT.match(str(self))
        return Redirect(found[1], int(found[2]), found[3], int(found[4])) if found else None

    @property
    def says_later(self) -> bool:
        """Whether the server answers nobody for now."""
        return str(self).startswith(LATER)


class ServerConnection:
    """Connects and logs in when it is made. Raises OSError, ErrorReply when it is refused."""

    def __init__(self, server: Server, name: str, timeout_s: float) -> None:
        self._reader = hiredis.Reader()
        self._socket = _connected(server, timeout_s)
        try:
            if server.password:
                user = (server.username,) if server.username else ()
                self.ask("AUTH", *user, server.password.reveal())
            self._show(name)
            if server.database:
                self.ask("SELECT", server.database)
        except BaseException:
            self.close()
            raise

    def _show(self, name: str) -> None:
        try:
            self.ask("CLIENT", "SETNAME", name)
        except ErrorReply as error:
            if error.says_later:
                raise  # without its name this connection is no sign of life
            return  # managed servers refuse CLIENT

    def ask(self, *words: str | int) -> object:
        """Send one command and return its answer. Raises ErrorReply, or OSError."""
        self._socket.sendall(hiredis.pack_command(cast("tuple[str | int]", words)))
        answer = self._answer()
        if isinstance(answer, hiredis.ReplyError):
            raise ErrorReply(str(answer)[:SHOWN_LIMIT])
        return answer

    def _answer(self) -> object:
        try:
            while (answer := self._reader.gets()) is False:
                received = self._socket.recv(CHUNK_BYTES)
                if not received:
                    raise ConnectionResetError("the server has closed the connection")
                self._reader.feed(received)
        except hiredis.ProtocolError as error:
            raise ConnectionAbortedError(f"no Redis server answers: {error}") from error
        return cast("object", answer)

    def close(self) -> None:
        self._socket.close()


def _connected(server: Server, timeout_s: float) -> socket.socket:
    if server.path:
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(timeout_s)
        try:
            connected.connect(server.path)
        except BaseException:
            connected.close()
            raise
        return connected
    connected = socket.create_connection((server.host, server.port), timeout_s)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if server.tls is None:
        return connected
    return _context(server.tls).wrap_socket(connected, server_hostname=server.host)


def _context(options: dict[str, str | int | bool]) -> ssl.SSLContext:
    """Return a context as redis-py makes it from the options of a URL."""

    def text(name: str) -> str | None:
        return cast("str | None", options.get(f"ssl_{name}"))

    context = ssl.create_default_context()
    mode = _CERT_REQS[str(options.get("ssl_cert_reqs", "required"))]
    is_checked = bool(options.get("ssl_check_hostname", True))
    context.check_hostname = is_checked and mode != ssl.CERT_NONE
    context.verify_mode = mode
    for flag in _flags(options, "ssl_include_verify_flags"):
        context.verify_flags |= flag
    for flag in _flags(options, "ssl_exclude_verify_flags"):
        context.verify_flags &= ~flag
    certificate = text("certfile") or text("keyfile")
    if certificate:
        context.load_cert_chain(certificate, text("keyfile"), text("password"))
    if text("ca_certs") or text("ca_path") or text("ca_data"):
        context.load_verify_locations(text("ca_certs"), text("ca_path"), text("ca_data"))
    if "ssl_min_version" in options:
        context.minimum_version = ssl.TLSVersion(int(options["ssl_min_version"]))
    if text("ciphers"):
        context.set_ciphers(str(text("ciphers")))
    return context


def _flags(options: dict[str, str | int | bool], name: str) -> list[ssl.VerifyFlags]:
    return [ssl.VerifyFlags(int(flag)) for flag in str(options.get(name, "")).split()]
