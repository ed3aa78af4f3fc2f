"""Decides who calls: nobody is asked twice, and what is not clear is refused.

Rule: as soon as a namespace has had a key, each call needs one. Without keys only this machine is
served, under its own names, and never what has passed a proxy.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.web.access.key import Key
from everfold.web.access.key_store import KEYS_LIMIT
from everfold.web.access.key_table import KeyTable
from everfold.web.access.origin import (
    ALL,
    cookie_counts,
    host_problem,
    is_listed,
    is_preflight,
    is_same_origin,
    origin_problem,
)
from everfold.web.access.rates import Buckets
from everfold.web.access.request_head import RequestHead
from everfold.web.access.sessions import Sessions
from everfold.web.caller import EVERYBODY, NOBODY, Caller
from everfold.web.problem import Problem
from everfold.web.settings import WebSettings

PROBES = {"/livez", "/readyz"}
"""What a supervisor asks, under any name and without a key: it shows nothing of a namespace."""

REALM = {"WWW-Authenticate": 'Bearer realm="everfold"'}


class Visitor(Struct, frozen=True):
    """Who calls, with which key."""

    caller: Caller
    key: Key | None = None


class Doorkeeper:
    """Knows the keys, the logins and the rules of one gateway."""

    def __init__(self, log: Log, settings: WebSettings) -> None:
        self.keys, self.sessions = KeyTable(log), Sessions(log)
        self.logins = Buckets(KEYS_LIMIT)
        self._settings = settings
        self.is_public: Callable[[str, str], bool] = lambda method, path: False
        """Says of a method and a path whether no key is asked for."""

    def origins(self, *, has_keys: bool) -> tuple[str, ...]:
        """Return the origins that may call; all of them only with keys."""
        allowed = self._settings.allowed_origins
        return allowed if has_keys else tuple(one for one in allowed if one != ALL)

    async def admit(self, head: RequestHead) -> Visitor:
        """Return who calls. Raises Problem, or a leaf of Unavailable while Redis is away."""
        if head.path in PROBES:
            return Visitor(NOBODY)
        if head.twice:
            raise Problem(400, "invalid_request", f"the header {head.twice} is there twice")
        self.keys.check_reachable()
        has_keys = await self.keys.has_keys()
        if not has_keys and (self._settings.trusted_proxies or not head.is_local):
            raise Problem(
                403,
                "keys_needed",
                "the gateway has no keys, so it answers this machine only, and no proxy: run "
                "everfold keys add",
            )
        problem = host_problem(head, self._settings.allowed_hosts, has_keys=has_keys)
        problem = problem or origin_problem(head, self.origins(has_keys=has_keys))
        if problem is not None:
            raise problem
        if not has_keys:
            return Visitor(EVERYBODY)
        if is_preflight(head):
            return Visitor(NOBODY)
        return await self._known(head)

    async def _known(self, head: RequestHead) -> Visitor:
        if (shown := head.key) is not None:
            found = await self.keys.find(shown)
            if found is not None:
                return Visitor(found[1].caller(found[0]), found[1])
        elif head.session and cookie_counts(head):
            key_id = await self.sessions.key_id(head.session)
            key = await self.keys.by_id(key_id) if key_id else None
            if key is not None:
                return Visitor(key.caller(key_id), key)
        if self.is_public(head.method, head.path):
            return Visitor(NOBODY)
        if shown is None and head.wants_page:
            place = quote(head.prefix + head.path, safe="/")
            headers = {"Location": f"{head.prefix}/login?next={place}"}
            raise Problem(303, "login_needed", "log in with a key", headers=headers)
        raise Problem(401, "unauthorized", _why(shown, head), headers=REALM)

    def may_ask(self, head: RequestHead) -> bool:
        """Say whether a preflight is answered with yes."""
        allowed = self.origins(has_keys=True)
        return is_listed(head, allowed) or is_same_origin(head)


def _why(shown: str | None, head: RequestHead) -> str:
    if shown is not None:
        return "the key is not one of this gateway, has expired, or was revoked"
    if head.session:
        return "the login has ended, or this page may not use it: log in again, or send a key"
    return "a key is needed: send Authorization: Bearer ef_..., or X-API-Key"
