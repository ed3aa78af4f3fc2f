"""The rows of ComfyUI's own API. Each is served under / and under /api, as ComfyUI does, but for
those that are newer, which are UNDER_API alone."""

from __future__ import annotations

from everfold.web.comfyui.extensions.pass_on import pass_on
from everfold.web.comfyui.files import uploads, view
from everfold.web.comfyui.jobs import history, listing, queue, submit
from everfold.web.comfyui.server import models, object_info, system_stats
from everfold.web.comfyui.server.features import Features, features
from everfold.web.operation import CALLBACK, Operation, Parameter

MAX_ITEMS = Parameter(
    name="max_items", kind=int, told="The newest so many; 200 where it is absent."
)
OFFSET = Parameter(name="offset", kind=int, told="Counted from the oldest of the newest 2,000.")
PROMPT_ID = Parameter(
    name="prompt_id", place="path", is_required=True, told="The prompt's id: a UUID."
)

JOBS: tuple[Operation, ...] = (
    Operation(
        method="POST", path="/prompt", answer=submit.post_prompt, name="comfyui_post_prompt",
        summary="Queue a graph.", parameters=(CALLBACK,), body=dict[str, object],
        answers={200: submit.Accepted},
    ),
    Operation(
        method="GET", path="/prompt", answer=queue.get_prompt, name="comfyui_get_prompt",
        role="reader", summary="Say how many prompts wait or run.",
        answers={200: queue.Remaining},
    ),
    Operation(
        method="GET", path="/queue", answer=queue.get_queue, name="comfyui_get_queue",
        role="reader", summary="List what runs and what waits.", answers={200: queue.Queue},
    ),
    Operation(
        method="POST", path="/queue", answer=queue.post_queue, name="comfyui_post_queue",
        summary="Cancel prompts that wait: `delete` some, or `clear` all.",
        body=dict[str, object], answers={200: None},
    ),
    Operation(
        method="POST", path="/interrupt", answer=queue.post_interrupt, name="comfyui_interrupt",
        summary="Stop one running prompt, or all of the caller.", body=dict[str, object],
        answers={200: None},
    ),
    Operation(
        method="GET", path="/history", answer=history.get_history, name="comfyui_get_history",
        role="reader", summary="Return prompts that have ended.",
        parameters=(MAX_ITEMS, OFFSET), answers={200: dict[str, object]},
    ),
    Operation(
        method="POST", path="/history", answer=history.post_history, name="comfyui_post_history",
        summary="Hide prompts that have ended: `delete` some, or `clear` all.",
        body=dict[str, object], answers={200: None},
    ),
    Operation(
        method="GET", path="/history/{prompt_id:text}", answer=history.get_history_of,
        name="comfyui_get_history_of", role="reader",
        summary="Return one prompt that has ended, or an empty object.",
        parameters=(PROMPT_ID,), answers={200: dict[str, object]},
    ),
    Operation(
        method="GET", path="/history_v2", answer=history.get_history_v2,
        name="comfyui_get_history_v2", role="reader",
        summary="List prompts that have ended, the newest first.",
        parameters=(MAX_ITEMS, OFFSET), answers={200: history.HistoryV2},
    ),
    Operation(
        method="GET", path="/history_v2/{prompt_id:text}", answer=history.get_history_v2_of,
        name="comfyui_get_history_v2_of", role="reader",
        summary="Return one prompt that has ended, or an empty object.",
        parameters=(PROMPT_ID,), answers={200: dict[str, history.EntryV2]},
    ),
)  # fmt: skip

UNDER_API: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/jobs", answer=listing.get_jobs, name="comfyui_get_jobs",
        role="reader", summary="List jobs.",
        parameters=(
            Parameter(name="status", told=", ".join(listing.STATUSES) + ", or several of these."),
            Parameter(name="workflow_id", told="Only jobs of this workflow."),
            Parameter(name="sort_by", told=" or ".join(listing.ORDERS)),
            Parameter(name="sort_order", told="asc or desc"),
            Parameter(name="limit", kind=int, told="The most jobs."),
            Parameter(name="offset", kind=int, told="Jobs that are left out first."),
        ),
        answers={200: listing.JobList},
    ),
    Operation(
        method="POST", path="/jobs/cancel", answer=listing.cancel_jobs, name="comfyui_cancel_jobs",
        summary="Cancel the jobs in `job_ids`.", body=dict[str, object],
        answers={200: listing.Cancelled},
    ),
    Operation(
        method="GET", path="/jobs/{prompt_id}", answer=listing.get_job, name="comfyui_get_job",
        role="reader", summary="Return one job.", parameters=(PROMPT_ID,),
        answers={200: listing.JobItem},
    ),
    Operation(
        method="POST", path="/jobs/{prompt_id}/cancel", answer=listing.cancel_job,
        name="comfyui_cancel_job", summary="Cancel one job.", parameters=(PROMPT_ID,),
        answers={200: listing.Cancelled},
    ),
)  # fmt: skip

FORM = "multipart/form-data"

FILES: tuple[Operation, ...] = (
    Operation(
        method="POST", path="/upload/image", answer=uploads.upload_image,
        name="comfyui_upload_image", summary="Store a file under a name.", body=FORM,
        answers={200: uploads.Uploaded},
    ),
    Operation(
        method="POST", path="/upload/mask", answer=uploads.upload_mask,
        name="comfyui_upload_mask", summary="Store a picture with another transparency.",
        body=FORM, answers={200: uploads.Uploaded},
    ),
    Operation(
        method="GET", path="/view", answer=view.view, name="comfyui_view", role="reader",
        summary="Return a file, a part of it, a small picture of it, or one of its channels.",
        parameters=(
            Parameter(name="filename", is_required=True, told="The file's name."),
            Parameter(name="subfolder", told="Of an output, it begins with the job's id."),
            Parameter(name="type", told="input, output or temp"),
            Parameter(name="preview", told="Such as webp;90: the small picture, if there is one."),
            Parameter(name="channel", told="rgba, rgb or a"),
        ),
        answers={200: "application/octet-stream", 206: "application/octet-stream"},
    ),
    Operation(
        method="GET", path="/view_metadata/{folder}", answer=view.view_metadata,
        name="comfyui_view_metadata", role="reader",
        summary="Say that nothing is known of a model file.", answers={404: dict[str, object]},
    ),
)  # fmt: skip

SERVER: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/features", answer=features, name="comfyui_features", role="reader",
        summary="Say what the gateway can do, in ComfyUI's words.", answers={200: Features},
    ),
    Operation(
        method="GET", path="/object_info", answer=object_info.get_object_info,
        name="comfyui_object_info", role="reader",
        summary="Describe the node classes of all servers together.",
        answers={200: dict[str, object]},
    ),
    Operation(
        method="GET", path="/object_info/{class_type:text}", answer=object_info.get_object_info_of,
        name="comfyui_object_info_of", role="reader", summary="Describe one node class.",
        parameters=(Parameter(name="class_type", place="path", is_required=True),),
        answers={200: dict[str, object]},
    ),
    Operation(
        method="GET", path="/models", answer=models.get_models, name="comfyui_models",
        role="reader", summary="List the folders of models.", answers={200: list[str]},
    ),
    Operation(
        method="GET", path="/models/{folder}", answer=models.get_models_of,
        name="comfyui_models_of", role="reader", summary="List the model files of a folder.",
        parameters=(Parameter(name="folder", place="path", is_required=True),),
        answers={200: list[str]},
    ),
    Operation(
        method="GET", path="/experiment/models", answer=models.get_model_folders,
        name="comfyui_model_folders", role="reader",
        summary="List the folders of models, as the front end's library of models asks.",
        answers={200: list[models.ModelFolder]},
    ),
    Operation(
        method="GET", path="/experiment/models/{folder}", answer=models.get_model_files,
        name="comfyui_model_files", role="reader", summary="List the model files of a folder.",
        parameters=(Parameter(name="folder", place="path", is_required=True),),
        answers={200: list[models.ModelFile]},
    ),
    Operation(
        method="GET", path="/embeddings", answer=models.get_embeddings,
        name="comfyui_embeddings", role="reader", summary="List embeddings: none are known.",
        answers={200: list[str]},
    ),
    Operation(
        method="GET", path="/system_stats", answer=system_stats.system_stats,
        name="comfyui_system_stats", role="reader",
        summary="Describe the farm as if it were one machine.",
        answers={200: system_stats.SystemStats},
    ),
    Operation(
        method="POST", path="/free", answer=system_stats.free, name="comfyui_free",
        summary="Do nothing: the memory of the servers is everybody's.",
        body=dict[str, object], answers={200: None},
    ),
)  # fmt: skip

COMFYUI: tuple[Operation, ...] = (*JOBS, *FILES, *SERVER)

EXTENSIONS: tuple[Operation, ...] = tuple(
    Operation(
        method=method, path="/{extension}/{rest:text}", answer=pass_on,
        name=f"comfyui_extension_{method.lower()}",
        summary="Pass on what belongs to an extension, to the servers that have it.",
        parameters=(
            Parameter(name="extension", place="path", is_required=True, told="Such as etn."),
            Parameter(name="rest", place="path", is_required=True, told="As the extension has it."),
        ),
        body="application/octet-stream" if method != "GET" else None,
        answers={200: "application/octet-stream", 424: "application/octet-stream"},
    )
    for method in ("GET", "POST", "PUT")
)  # fmt: skip
"""Under /api alone, and after all others."""
