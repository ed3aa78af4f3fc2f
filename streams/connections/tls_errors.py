"""What went wrong with TLS, in sentences that say what to change.

Rule: a certificate that cannot be trusted is a setting to mend, so nobody waits for it to pass; a
server that hangs up may be there again in a moment.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping

import redis.exceptions as theirs
from redis.asyncio.connection import RedisSSLContext

_EXPIRED, _NOT_YET = 10, 9
_OTHER_HOST = (62, 64)
"""What OpenSSL calls X509_V_ERR_..., by number."""

_MAYBE_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING")

NO_TLS = "the server may speak no TLS at this port"

HUNG_UP = (
    "the server hung up right after the TLS handshake, as one does that wants a client certificate "
    "which it trusts: name it with REDIS_CERT and REDIS_KEY, or ssl_certfile and ssl_keyfile "
    "in the URL"
)


def why_not_trusted(error: BaseException) -> str:
    """Say why the server's certificate is not trusted; empty for another kind of error."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate {_fault(cause)}"
    return ""


def why_no_handshake(error: BaseException) -> str:
    """Say why TLS could not begin; empty for another kind of error."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            reason = cause.reason or "no reason given"
            hint = f"; {NO_TLS}" if reason in _MAYBE_NO_TLS else ""
            return f"TLS could not begin ({reason.replace('_', ' ').lower()}){hint}"
    return ""


def why_not_usable(options: Mapping[str, object]) -> str:
    """Say what is wrong with the files that a connection's TLS options name; empty for nothing."""
    given = {name.removeprefix("ssl_"): v for name, v in options.items() if name[:4] == "ssl_"}
    own = {name: given.pop(name, None) for name in ("certfile", "keyfile", "password")}
    if own["keyfile"] and not own["certfile"]:
        return "ssl_keyfile needs ssl_certfile"
    why = _why_not_loaded(given)
    if why:
        return f"ssl_ca_certs, or another option of TLS, cannot be used: {why}"
    why = _why_not_loaded(own) if own["certfile"] else ""
    return f"ssl_certfile, with its key, cannot be used: {why}" if why else ""


def _why_not_loaded(options: Mapping[str, object]) -> str:
    try:
        # Without a password, OpenSSL would ask for it at the terminal.
        RedisSSLContext(**{**options, "password": options.get("password") or ""}).get()  # type: ignore[arg-type]
    except (OSError, ValueError, theirs.RedisError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        return str(why).replace("_", " ").lower()
    return ""


def _fault(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _EXPIRED:
        return "has expired"
    if error.verify_code == _NOT_YET:
        return "is not valid yet: is the clock here right?"
    if error.verify_code in _OTHER_HOST:
        return (
            f"is for another host ({error.verify_message.rstrip('.')}); connect by a name that it "
            "has, or set REDIS_CHECK_HOSTNAME=false if its authority signs for this server alone"
        )
    return (
        f"is signed by no authority that is trusted here ({error.verify_message}); name the "
        "authority's file with REDIS_CA, or ssl_ca_certs in the URL"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
