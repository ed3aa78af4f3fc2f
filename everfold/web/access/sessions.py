"""The logins of browsers: a random value in a cookie, of which Redis has the digest.

Rule: a cookie holds nothing of a key, and counts as long as its key does. It ends in Redis, so that
a logout is one for whoever has copied the cookie, too.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import OrderedDict

from everfold.streams.appending.log import Log
from everfold.streams.errors import Unavailable
from everfold.streams.redis.redis_errors import command, read_string
from everfold.web.access.key import digest_of
from everfold.web.access.rates import Bucket
from everfold.web.problem import Problem

LOGIN_S = 7 * 24 * 3600
KNOWN_FOR_S = 5.0
STALE_S = 60.0
"""How long a known login counts while Redis is away."""
KNOWN_LIMIT = 4_096
"""Logins and wrong values that are remembered."""
ASKED_PER_S, ASKED_AT_ONCE = 200.0, 400.0
"""Values that are not remembered, of all clients together."""

_TOKEN = re.compile(r"[0-9a-f]{64}")


class Sessions:
    """The logins that one gateway knows. For one event loop."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known = OrderedDict[str, tuple[str, float]]()
        """Digest -> key id, empty for none, and when that was read."""
        self._asking = Bucket(ASKED_PER_S, ASKED_AT_ONCE)

    async def begin(self, key_id: str) -> str:
        """Log a key in; return the value of the cookie. Raises a leaf of Unavailable."""
        token = secrets.token_hex(32)
        name = self._log.keys.gateway_session(digest_of(token))
        await command(self._log.redis, "SET", name, key_id, "EX", LOGIN_S)
        self._remember(digest_of(token), key_id)
        return token

    async def key_id(self, token: str) -> str:
        """Return the id of the key that has logged in, empty for none.

        Raises a leaf of Unavailable, or Problem where too many wrong values are shown.
        """
        if not _TOKEN.fullmatch(token):
            return ""
        digest, now_s = digest_of(token), time.monotonic()
        key_id, read_at_s = self._known.get(digest, ("", float("-inf")))
        if now_s - read_at_s < KNOWN_FOR_S:
            return key_id
        if wait_s := self._asking.take(now_s):
            raise Problem(429, "rate_limited", "too many logins are shown", retry_after_s=wait_s)
        try:
            found = await read_string(self._log.redis, self._log.keys.gateway_session(digest))
        except Unavailable:
            if key_id and now_s - read_at_s < STALE_S:
                return key_id
            raise
        self._remember(digest, (found or b"").decode(errors="replace"))
        return self._known[digest][0]

    async def end(self, token: str) -> None:
        """Log out. Raises a leaf of Unavailable."""
        if _TOKEN.fullmatch(token):
            name = self._log.keys.gateway_session(digest_of(token))
            await command(self._log.redis, "PEXPIRE", name, 1)
            self._remember(digest_of(token), "")

    def _remember(self, digest: str, key_id: str) -> None:
        self._known[digest] = (key_id, time.monotonic())
        self._known.move_to_end(digest)
        while len(self._known) > KNOWN_LIMIT:
            self._known.popitem(last=False)
