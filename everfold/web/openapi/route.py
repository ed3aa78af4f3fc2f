"""Serves the OpenAPI document."""

from __future__ import annotations

import json
from functools import cache

from starlette.responses import Response

from everfold.web.operation import Call, Operation


@cache
def openapi_text() -> str:
    """Return the document as JSON. Raises Misconfigured where the sources are not installed."""
    # Here, because the document is made of the list that has this row.
    from everfold.web.openapi.document import openapi_document

    return json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"


async def openapi(call: Call) -> Response:
    """Return the OpenAPI document."""
    return Response(openapi_text(), media_type="application/json")


OPENAPI: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/openapi.json", answer=openapi, name="openapi", is_public=True,
        role="reader", summary="Return this document.", answers={200: "application/json"},
    ),
)  # fmt: skip
