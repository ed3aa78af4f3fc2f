"""GET /assets: the stored files of a user, or of all, the newest first."""

from __future__ import annotations

from msgspec import Struct
from starlette.responses import Response

from everfold.streams.assets.asset import Asset
from everfold.streams.assets.listing import LIST_LIMIT, list_assets
from everfold.web.bodies import json_answer
from everfold.web.operation import Call, Operation, Parameter
from everfold.web.own.answers import UNDER
from everfold.web.query import Query

KINDS = ("image", "video", "audio", "text", "application", "model", "font")
"""What stands before the slash of a media type."""

USER = Parameter(name="user", told="Only files of this user.")
KIND = Parameter(name="kind", choices=KINDS, told="Only files of this kind, such as image.")
CURSOR = Parameter(name="cursor", told="The `cursor` of the page before, for the next page.")
LIMIT = Parameter(name="limit", kind=int, least=1, most=LIST_LIMIT, told="The most files: 50.")

LOOK_LIMIT = 2_000
"""Files that are compared with the kind for one page; then it ends, with a cursor."""


class StoredFile(Struct, frozen=True, kw_only=True):
    """One stored file."""

    asset: Asset
    content: str
    """Path of its bytes at this gateway."""


class StoredFiles(Struct, frozen=True, kw_only=True):
    """Some stored files, the newest first."""

    assets: list[StoredFile]
    cursor: str | None
    """For the next page, None after the last one. A page may have fewer files than asked for."""


async def get_assets(call: Call) -> Response:
    """List stored files."""
    query = Query(call.request, (USER, KIND, CURSOR, LIMIT))
    user, kind, cursor = query.text("user"), query.text("kind"), query.text("cursor")
    limit = query.number("limit", 50)
    scope = call.caller.scope
    if scope is not None and user not in (None, scope):
        return json_answer(StoredFiles(assets=[], cursor=None))
    owner = user if scope is None else scope
    found, looked = list[Asset](), 0
    while True:
        store = call.gateway.everfold.assets
        page = await list_assets(store, owner, limit=limit - len(found), cursor=cursor)
        found += [one for one in page.assets if kind in (None, one.media_type.partition("/")[0])]
        looked, cursor = looked + max(1, len(page.assets)), page.cursor
        if cursor is None or len(found) == limit or looked >= LOOK_LIMIT:
            break
    return json_answer(StoredFiles(assets=[_told(one) for one in found], cursor=cursor))


def _told(asset: Asset) -> StoredFile:
    return StoredFile(asset=asset, content=f"/api/v2/assets/{asset.id}/content")


ASSETS: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/assets", answer=get_assets, name="list_stored_files",
        role="reader", parameters=(USER, KIND, CURSOR, LIMIT), answers={200: StoredFiles},
        summary="List stored files by user and kind, the newest first.",
    ),
)  # fmt: skip
