"""The rows of what the web front end asks for, besides jobs, files and the websocket.

Rule: FRONT_END is served at `/` and below `/api`; PAGES comes after all other rows, for its last
one takes every path that is left.
"""

from __future__ import annotations

from everfold.web.comfyui.front_end.constants import empty_list, empty_object, empty_style
from everfold.web.comfyui.front_end.pages import get_file, get_root, get_template
from everfold.web.operation import Operation

JSON = "application/json"

FRONT_END: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/extensions", answer=empty_list, name="comfyui_extensions",
        role="reader", answers={200: list[str]},
        summary="List the scripts of custom nodes: none, they belong to a server.",
    ),
    Operation(
        method="GET", path="/i18n", answer=empty_object, name="comfyui_i18n",
        role="reader", answers={200: JSON},
        summary="Return the translations of custom nodes: none.",
    ),
    Operation(
        method="GET", path="/workflow_templates", answer=empty_object,
        name="comfyui_workflow_templates", role="reader", answers={200: JSON},
        summary="List the workflow templates of custom nodes: none.",
    ),
    Operation(
        method="GET", path="/global_subgraphs", answer=empty_object,
        name="comfyui_global_subgraphs", role="reader", answers={200: JSON},
        summary="List the subgraphs of custom nodes: none.",
    ),
    Operation(
        method="GET", path="/experiment/models", answer=empty_list,
        name="comfyui_experiment_models", role="reader", answers={200: JSON},
        summary="List the folders of models on one machine: none, see /models.",
    ),
)  # fmt: skip

PAGES: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/", answer=get_root, name="front_end", role="reader",
        answers={200: "text/html"},
        summary="Return ComfyUI's web front end, or a page that says what is served here.",
    ),
    Operation(
        method="GET", path="/user.css", answer=empty_style, name="front_end_user_css",
        role="reader", answers={200: "text/css"},
        summary="Return the style sheet of a ComfyUI folder: an empty one.",
    ),
    Operation(
        method="GET", path="/templates/{path:path}", answer=get_template,
        name="front_end_template", role="reader", answers={200: JSON, 404: JSON},
        summary="Return a file of the workflow templates that are installed.",
    ),
    Operation(
        method="GET", path="/{path:path}", answer=get_file, name="front_end_file",
        role="reader", answers={200: "application/octet-stream", 404: JSON},
        summary="Return a file of the web front end.",
    ),
)  # fmt: skip
