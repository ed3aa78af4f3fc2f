"""The rows of ComfyUI's own API. Each is served under / and under /api, as ComfyUI does."""

from __future__ import annotations

from everfold.web.comfyui.features import Features, features
from everfold.web.operation import Operation

COMFYUI: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/features", answer=features, name="comfyui_features", role="reader",
        summary="Say what the gateway can do, in ComfyUI's words.", answers={200: Features},
    ),
)  # fmt: skip
