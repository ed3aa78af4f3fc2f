"""One row of the gateway's routes: what is called, who may call it, and what comes back.

Rule: routes, the check of roles and the OpenAPI document are all made from these rows, so that
they cannot differ.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from everfold.streams.events.checks import check_choice, check_text
from everfold.streams.events.limits import BACKEND_LIMIT, CALLBACK_LIMIT
from everfold.web.caller import Caller, Role

if TYPE_CHECKING:
    from everfold.web.gateway import Gateway


class AnyText(PathConvertor):
    """As Starlette's `path`, which fits no text that holds the end of a line: `{name:text}`.

    Whatever a client puts into a path reaches the route that stands for it, and is refused there.
    """

    regex = "(?s:.*)"


register_url_convertor("text", AnyText())


class Call(Struct, frozen=True):
    """One request, with all that its answer needs."""

    gateway: Gateway
    request: Request
    caller: Caller


Answer = Callable[[Call], Awaitable[Response]]


class Parameter(Struct, frozen=True, kw_only=True):
    """One parameter of the query or a header."""

    name: str
    kind: type = str
    place: str = "query"
    """query, header or path."""
    told: str = ""
    is_required: bool = False
    is_list: bool = False
    """Whether it may be given several times."""
    choices: tuple[str, ...] = ()
    """What it may be; empty: anything."""
    least: int | None = None
    most: int | None = None
    """Of a number its bounds; of a text its most characters."""

    def checked(self, text: str) -> str:
        """Return a value that it may have. Raises InvalidName, TooLarge."""
        if self.choices:
            check_choice(self.name, text, self.choices)
        return check_text(self.name, text, most=self.most or BACKEND_LIMIT)


CALLBACK = Parameter(
    name="Everfold-Callback",
    place="header",
    most=CALLBACK_LIMIT,
    told="A URL that is told of the job's end, signed, where `everfold sink callbacks` runs.",
)
"""How a request that makes a job names the job's callback, in each contract."""


def callback_of(call: Call) -> str:
    """Return the callback that a request names, empty for none; `submit` checks it."""
    return call.request.headers.get(CALLBACK.name, "")


class Operation(Struct, frozen=True, kw_only=True):
    """One method of one path."""

    method: str
    path: str
    """As Starlette writes it: /jobs/{job_id}."""
    answer: Answer
    name: str
    """Unique; `operationId` of the OpenAPI document."""
    summary: str
    """One sentence."""
    role: Role = "user"
    """Who may call it at least."""
    is_public: bool = False
    """True where no key is asked for, as of a probe."""
    parameters: tuple[Parameter, ...] = ()
    body: object = None
    """The msgspec type of the JSON body, or a media type such as multipart/form-data."""
    is_body_optional: bool = False
    answers: Mapping[int, object] = {}
    """Status -> the msgspec type of its JSON body, a media type, or None for no body."""
