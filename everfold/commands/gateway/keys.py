"""`everfold keys`: who may call the gateway."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from cyclopts import App, Parameter

from everfold.assets.sizes import size_bytes
from everfold.commands.numbers import duration, number
from everfold.commands.session import DEFAULT, Session
from everfold.streams.errors import InvalidName
from everfold.web.access.key_store import (
    ListedKey,
    add_key,
    list_keys,
    remove_keys,
    revoke_key,
)

KeyName = Annotated[str, Parameter(help="What people call it, such as the program that has it.")]
KeyRole = Annotated[
    Literal["reader", "user", "operator"],
    Parameter(
        help="reader: looks. user: also runs and cancels jobs. operator: also changes the farm."
    ),
]
KeyUser = Annotated[
    str,
    Parameter(
        help="Whose jobs and files it makes and sees. A key of another role than user may do "
        "without: it sees all."
    ),
]
ExpiresIn = Annotated[
    float | None, duration("key_ttl_s", "How long it counts. Default: until it is revoked.")
]
RequestsPerS = Annotated[
    float | None, number("requests_per_s", "Requests that it may make of one gateway.")
]
Streams = Annotated[
    int | None,
    number("streams", "Event streams and websockets that it may have open at one gateway."),
]
BodyLimit = Annotated[
    str | None, Parameter(help="The largest body that it may send, such as 16MB.")
]

keys = App(name="keys", help="Add, list and revoke the keys with which the gateway is called.")


@keys.command
async def add(
    name: KeyName,
    /,
    *,
    role: KeyRole = "user",
    user: KeyUser = "",
    expires_in: ExpiresIn = None,
    requests_per_s: RequestsPerS = None,
    streams: Streams = None,
    body_limit: BodyLimit = None,
    session: Session = DEFAULT,
) -> int:
    """Add a key, and show it this once: of the key itself nothing is stored.

    As soon as there is a first key, the gateway answers nobody without one.
    """
    async with session.operate() as everfold:
        key_id, text = await add_key(
            everfold.log,
            name,
            role=role,
            user=user,
            expires_in_s=expires_in,
            requests_per_s=requests_per_s,
            streams=streams,
            body_limit_bytes=_size(body_limit),
        )
    shown = text.reveal()
    session.tell(
        {"key_id": key_id, "name": name, "role": role, "user": user, "key": shown},
        shown,
        f"It is shown this once. It is called {name}, its id is {key_id}.",
        "Clients send it as Authorization: Bearer KEY; browsers log in at /login.",
    )
    return 0


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    if (size := size_bytes(text)) is None:
        raise InvalidName("body limit", text, "use a size such as 16MB")
    return int(size)


@keys.command
async def ls(*, session: Session = DEFAULT) -> int:
    """List the keys: expired and revoked ones, too, but none of the keys themselves."""
    async with session.open("reader") as everfold:
        found = await list_keys(everfold.log)
    session.show(
        found,
        {
            "id": lambda one: one.key_id,
            "name": lambda one: one.key.name,
            "role": lambda one: one.key.role,
            "user": lambda one: one.key.user or "(all)",
            "state": lambda one: one.state,
            "expires": lambda one: _day(one.key.expires_ms),
            "used": lambda one: _day(one.used_ms) or "never",
        },
        empty="there are no keys: the gateway answers this machine only",
        as_json=_as_json,
    )
    return 0


def _day(at_ms: int | None) -> str:
    if at_ms is None:
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")


def _as_json(one: ListedKey) -> object:
    key = one.key
    return {
        "key_id": one.key_id,
        "name": key.name,
        "role": key.role,
        "user": key.user,
        "state": one.state,
        "created_ms": key.created_ms,
        "created_by": key.created_by,
        "expires_ms": key.expires_ms,
        "revoked_ms": key.revoked_ms,
        "used_ms": one.used_ms,
        "requests_per_s": key.requests_per_s,
        "streams": key.streams,
        "body_limit_bytes": key.body_limit_bytes,
    }


@keys.command
async def revoke(
    key: Annotated[str | None, Parameter(help="Its id, its name, or the key itself.")] = None,
    /,
    *,
    all_: Annotated[
        bool,
        Parameter(
            name="--all",
            help="Remove all keys. Then the gateway answers without any, but this machine only.",
        ),
    ] = False,
    session: Session = DEFAULT,
) -> int:
    """Revoke a key: gateways refuse it and end its streams within seconds.

    The last one may be revoked, too: then the gateway answers nobody until another one is added.
    """
    if all_ == (key is not None):
        raise InvalidName("key", key or "", "name one, or use --all")
    async with session.operate() as everfold:
        if key is None:
            count = await remove_keys(everfold.log)
            what = "key is" if count == 1 else "keys are"
            session.tell({"removed": count}, f"{count} {what} removed")
            return 0
        key_id = await revoke_key(everfold.log, key)
        has_more = any(one.state == "good" for one in await list_keys(everfold.log))
    hint = (
        "It was the last one: the gateway answers nobody until you add another, or",
        "remove all by `everfold keys revoke --all`: then it serves this machine again.",
    )
    told = {"key_id": key_id, "state": "revoked"}
    session.tell(told, f"{key_id} is revoked", *(() if has_more else hint))
    return 0
