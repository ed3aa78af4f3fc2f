"""What is wrong with the access to a ComfyUI server, in one sentence that says what to change.

Rule: a sentence shows nothing of what was sent. An error that says nothing of the access has none.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

import httpx

from everfold.runner.access.address import Address

REFUSING = frozenset({401, 403, 407, 429})
"""Asked again soon, a server with these may shut its client out."""

TABLE = "in [backends.NAME] of everfold.toml"

_EXPIRED, _NOT_YET, _OTHER_HOST = 10, 9, (62, 64)
"""What OpenSSL calls X509_V_ERR_..., by number."""
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
_WANTS_CERTIFICATE = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")
_DISTRUSTS = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED")
_AWAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
_HUNG_UP = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)

CLIENT_CERTIFICATE = (
    "it wants a client certificate that it trusts: set client_cert and client_key, " + TABLE
)


def why_unreached(error: BaseException, address: Address, *, has_spoken: bool = False) -> str:
    """Say why no answer came, and what to do; empty for an error of another kind.

    `has_spoken`: the server has answered before, so that its port is the right one.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _why_not_trusted(cause)
        if isinstance(cause, ssl.SSLError):
            return _why_no_tls(cause)
        if isinstance(cause, socket.gaierror):
            return "no machine is known by the host of this address: correct it"
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there: start ComfyUI, or correct host and port"
        if isinstance(cause, OSError) and cause.errno in _AWAY:
            return "its host is not reached: correct the address, or see to the network"
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return "it does not answer: it hangs, host or port are wrong, or a firewall drops all"
    if isinstance(error, _HUNG_UP) and has_spoken:
        return "it hung up without an answer, as one does that ends or starts anew"
    if isinstance(error, _HUNG_UP):
        return _why_hung_up(error, address)
    return ""


def why_not_served(status: int, body: bytes, address: Address) -> str:
    """Say what an answer that is no queue tells of the access; empty if it tells nothing."""
    shown = body[:4096].lower()
    if status == 400 and b"https" in shown:
        return f"it speaks TLS at this port ({status}): write https://"
    if status == 400 and b"certificate" in shown:
        return f"{CLIENT_CERTIFICATE} ({status})"
    if status in (401, 403, 407) and address.headers:
        return f"it refuses the password or header that it gets ({status}): correct it, {TABLE}"
    if status in (401, 403, 407):
        wanted = "set user and password, or headers"
        return f"it wants a password or a header ({status}): {wanted}, {TABLE}"
    if status == 429:
        return f"it wants fewer requests ({status}): raise its limit for this machine"
    if status in (404, 405, 410):
        return f"there is no ComfyUI at this path ({status}): correct the path of the address"
    if 300 <= status < 400:
        return f"it sends on ({status}), as to a login or to https://: name that address itself"
    if status in (502, 503, 504):
        return f"a gateway answers, and says that ComfyUI is away ({status}): start ComfyUI"
    if status == 200:
        return _why_no_queue(shown)
    return ""


def _why_no_queue(body: bytes) -> str:
    if body.lstrip().startswith(b"<"):
        return "it answers with a page: a login stands before it, or it is no ComfyUI"
    if b'"queue_running"' not in body:
        return "it answers, and is no ComfyUI: correct host, port and path of the address"
    return ""


def _why_not_trusted(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _EXPIRED:
        return "its certificate has expired: renew it"
    if error.verify_code == _NOT_YET:
        return "its certificate is not valid yet: see to the clocks here and there"
    if error.verify_code in _OTHER_HOST:
        return "its certificate is for another host: use a name that the certificate has"
    return (
        "its certificate is signed by no authority that is trusted here: name the authority's file "
        f"with ca_file, {TABLE}"
    )


def _why_no_tls(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if reason.endswith(_NO_TLS):
        return "it speaks no TLS at this port: write http://, or correct the port"
    if reason.endswith((*_WANTS_CERTIFICATE, *_DISTRUSTS)):
        return CLIENT_CERTIFICATE
    return f"TLS could not begin ({reason.replace('_', ' ').lower() or 'no reason given'})"


def _why_hung_up(error: BaseException, address: Address) -> str:
    if not address.url.startswith("https://"):
        return "it does not speak HTTP at this port: write https://, or correct the port"
    if isinstance(error, httpx.RemoteProtocolError) and "disconnected" not in str(error):
        return "it does not speak HTTP at this port: correct the port"
    return f"it hangs up without an answer; perhaps {CLIENT_CERTIFICATE}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__  # httpcore hides what it maps
