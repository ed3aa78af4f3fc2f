"""The rows of what the web front end asks for, besides jobs, files and the websocket.

Rule: FRONT_END is served at `/` and below `/api`; PAGES comes after all other rows, for its last
one takes every path that is left.
"""

from __future__ import annotations

from everfold.web.comfyui.front_end.constants import empty_list, empty_object, empty_style
from everfold.web.comfyui.front_end.pages import get_file, get_root, get_template
from everfold.web.comfyui.front_end.settings import (
    get_setting,
    get_settings,
    get_users,
    post_setting,
    post_settings,
)
from everfold.web.comfyui.front_end.shapes import Entry, Users
from everfold.web.comfyui.front_end.userdata import (
    delete_file,
    get_entries,
    get_listing,
    get_user_file,
    post_file,
)
from everfold.web.operation import Operation, Parameter

JSON = "application/json"

FULL_INFO = Parameter(name="full_info", kind=bool, told="Size and times, too.")
LISTING = (
    Parameter(name="dir", is_required=True, told="The folder."),
    Parameter(name="recurse", kind=bool, told="What is in its folders, too."),
    FULL_INFO,
    Parameter(name="split", kind=bool, told="Each path as a list of its parts."),
)
WRITING = (
    Parameter(name="overwrite", kind=bool, told="Whether a file that is there is replaced."),
    FULL_INFO,
)

FRONT_END: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/users", answer=get_users, name="comfyui_users",
        role="reader", answers={200: Users},
        summary="Say that settings are kept by the gateway, for the user of the key.",
    ),
    Operation(
        method="GET", path="/settings", answer=get_settings, name="comfyui_settings",
        role="reader", answers={200: JSON},
        summary="Return all settings of the caller.",
    ),
    Operation(
        method="GET", path="/settings/{id:text}", answer=get_setting, name="comfyui_setting",
        role="reader", answers={200: JSON},
        summary="Return one setting of the caller, null where there is none.",
    ),
    Operation(
        method="POST", path="/settings", answer=post_settings, name="comfyui_write_settings",
        body=dict[str, object], answers={200: None},
        summary="Write some settings of the caller; others stay.",
    ),
    Operation(
        method="POST", path="/settings/{id:text}", answer=post_setting,
        name="comfyui_write_setting", body=object, answers={200: None},
        summary="Write one setting of the caller.",
    ),
    Operation(
        method="GET", path="/userdata", answer=get_listing, name="comfyui_list_files",
        role="reader", answers={200: JSON}, parameters=LISTING,
        summary="List the caller's files in a folder.",
    ),
    Operation(
        method="GET", path="/v2/userdata", answer=get_entries, name="comfyui_list_entries",
        role="reader", answers={200: list[Entry]},
        parameters=(Parameter(name="path", told="The folder."),),
        summary="List the caller's files and folders below a folder.",
    ),
    Operation(
        method="POST", path="/userdata/{file:text}/move/{destination:text}", answer=post_file,
        name="comfyui_move_file", answers={200: JSON, 404: JSON, 409: JSON}, parameters=WRITING,
        summary="Move a file of the caller.",
    ),
    Operation(
        method="GET", path="/userdata/{file:text}", answer=get_user_file, name="comfyui_read_file",
        role="reader", answers={200: "application/octet-stream", 404: JSON},
        summary="Return a file of the caller.",
    ),
    Operation(
        method="POST", path="/userdata/{file:text}", answer=post_file, name="comfyui_write_file",
        body="application/octet-stream", answers={200: JSON, 409: JSON}, parameters=WRITING,
        summary="Write a file of the caller.",
    ),
    Operation(
        method="DELETE", path="/userdata/{file:text}", answer=delete_file,
        name="comfyui_delete_file", answers={204: None, 404: JSON},
        summary="Delete a file of the caller.",
    ),
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
        method="GET", path="/templates/{path:text}", answer=get_template,
        name="front_end_template", role="reader", answers={200: JSON, 404: JSON},
        summary="Return a file of the workflow templates that are installed.",
    ),
    Operation(
        method="GET", path="/{path:text}", answer=get_file, name="front_end_file",
        role="reader", answers={200: "application/octet-stream", 404: JSON},
        summary="Return a file of the web front end.",
    ),
)  # fmt: skip
