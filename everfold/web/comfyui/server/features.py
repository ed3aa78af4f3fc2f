"""What the gateway says that it can do, in ComfyUI's words."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from starlette.responses import Response

from everfold.web.comfyui.refusal import JSON
from everfold.web.operation import Call


class Features(Struct, frozen=True, kw_only=True):
    """The body of GET /features, and the data of the message `feature_flags`."""

    supports_preview_metadata: bool = True
    max_upload_size: int
    """Bytes."""


async def features(call: Call) -> Response:
    """Answer GET /features."""
    body = Features(max_upload_size=call.gateway.settings.upload_limit_bytes)
    return Response(msgspec.json.encode(body), media_type=JSON)
