"""The rows of Everfold's own routes."""

from __future__ import annotations

from everfold.web.operation import Operation
from everfold.web.own.probes import livez

OWN: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/livez", answer=livez, name="livez", is_public=True, role="reader",
        summary="Say that the process answers.", answers={200: "text/plain"},
    ),
)  # fmt: skip
