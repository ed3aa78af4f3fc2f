"""The contracts that a gateway serves: their rows, where they stand, and how each refuses.

Rule: the routes and the OpenAPI document are made from this list, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from starlette.responses import Response

from everfold.web.access.operations import ACCESS
from everfold.web.comfyui.front_end.operations import FRONT_END, PAGES
from everfold.web.comfyui.operations import COMFYUI, EXTENSIONS, UNDER_API
from everfold.web.comfyui.refusal import Refusal, refusal
from everfold.web.console.pages import CONSOLE
from everfold.web.envelope import ErrorEnvelope, envelope
from everfold.web.operation import Operation
from everfold.web.own.operations import OWN
from everfold.web.problem import Problem
from everfold.web.v2.addresses import PREFIX
from everfold.web.v2.operations import V2

Form = Callable[[Problem], Response]
"""How a contract answers with a problem."""


class Contract(Struct, frozen=True, kw_only=True):
    """One contract."""

    name: str
    about: str
    operations: tuple[Operation, ...]
    form: Form
    error: type
    """What is in the body of an answer that is no success."""
    under: tuple[str, ...] = ("",)
    """The paths below which it stands; the document shows the first."""
    alone_below: str = ""
    """The path below which no other contract has any; then it refuses what is left there."""
    is_documented: bool = True


CONTRACTS: tuple[Contract, ...] = (
    Contract(
        name="Login", operations=ACCESS, form=envelope, error=ErrorEnvelope, is_documented=False,
        about="The login of browsers.",
    ),
    Contract(
        name="Everfold", operations=OWN, form=envelope, error=ErrorEnvelope,
        alone_below="/everfold",
        about="What neither of the other contracts has: the history of jobs, and operating.",
    ),
    Contract(
        name="ComfyApi", operations=V2, form=envelope, error=ErrorEnvelope,
        under=(PREFIX,), alone_below=PREFIX,
        about="The Comfy API v2, as comfy-sdk speaks it.",
    ),
    Contract(
        name="ComfyUI", operations=(*COMFYUI, *FRONT_END), form=refusal, error=Refusal,
        under=("", "/api"),
        about="ComfyUI's own API. Each path is served below /api, too.",
    ),
    Contract(
        name="ComfyUI", operations=UNDER_API, form=refusal, error=Refusal, under=("/api",),
        about="ComfyUI's own API. Each path is served below /api, too.",
    ),
    Contract(
        name="ComfyUI", operations=EXTENSIONS, form=refusal, error=Refusal, under=("/api",),
        about="ComfyUI's own API. Each path is served below /api, too.",
    ),
    Contract(
        name="Console", operations=CONSOLE, form=envelope, error=ErrorEnvelope,
        is_documented=False, about="The console, a page for people.",
    ),
    # The last: it takes every path that is left.
    Contract(
        name="Pages", operations=PAGES, form=refusal, error=Refusal, is_documented=False,
        about="Files of ComfyUI's web front end.",
    ),
)  # fmt: skip
"""In the order in which a path is looked for."""


def form_of(path: str) -> Form:
    """Return how the contract answers that a path belongs to, where no route is reached."""
    if any(path == one.path for one in (*ACCESS, *OWN)):
        return envelope
    found = (one for one in CONTRACTS if one.alone_below and path.startswith(one.alone_below + "/"))
    return next((one.form for one in found), refusal)
