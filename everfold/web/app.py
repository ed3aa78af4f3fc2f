"""Makes the ASGI application out of the rows of all contracts.

Rule: an answer is always in the form of its contract, whatever goes wrong in a route.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute, compile_path

from everfold.client import Everfold
from everfold.streams.border.logger import get_logger
from everfold.web.access.gate import Gate
from everfold.web.caller import EVERYBODY, Caller
from everfold.web.comfyui.front_end.operations import FRONT_END, PAGES
from everfold.web.comfyui.operations import COMFYUI, UNDER_API
from everfold.web.comfyui.refusal import refusal
from everfold.web.comfyui.socket.client_socket import SOCKET_PATHS, serve_socket
from everfold.web.counters import CountedRequests
from everfold.web.gateway import Gateway
from everfold.web.operation import Call, Operation
from everfold.web.own.operations import OWN
from everfold.web.problem import Problem, problem_of
from everfold.web.settings import WebSettings
from everfold.web.v2.addresses import PREFIX
from everfold.web.v2.operations import V2

logger = get_logger("everfold.web")

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")

Form = Callable[[Problem], Response]
"""How a contract answers with a problem."""


def app(everfold: Everfold, settings: WebSettings | None = None) -> Starlette:
    """Return the gateway of an open client, to be served alone or mounted in an application.

    It must be entered by its lifespan, or, where it is mounted in an application that does not
    pass that on, by `async with gateway.router.lifespan_context(gateway)`.
    """
    gateway = Gateway(everfold, settings or WebSettings())

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway.open():
            yield

    middleware = [
        Middleware(CountedRequests, gateway.counters),
        Middleware(Gate, gateway.streams),
    ]
    made = Starlette(routes=_routes(gateway), lifespan=lifespan, middleware=middleware)
    made.state.gateway = gateway
    return made


def _routes(gateway: Gateway) -> list[BaseRoute]:
    return [
        *routes_of(gateway, OWN, envelope),
        *routes_of(gateway, V2, envelope, PREFIX),
        *rest_of(gateway, V2, envelope, PREFIX),
        *routes_of(gateway, COMFYUI, refusal),
        *routes_of(gateway, (*COMFYUI, *UNDER_API), refusal, "/api"),
        *(WebSocketRoute(path, partial(serve_socket, gateway)) for path in SOCKET_PATHS),
        *routes_of(gateway, FRONT_END, refusal),
        *routes_of(gateway, FRONT_END, refusal, "/api"),
        *routes_of(gateway, PAGES, refusal),  # the last: it takes every path that is left
    ]


def routes_of(
    gateway: Gateway, operations: Sequence[Operation], form: Form, under: str = ""
) -> list[BaseRoute]:
    """Return the routes of a contract, below a path."""
    return [
        Route(
            under + one.path,
            _endpoint(gateway, one, form),
            methods=[one.method],
            name=one.name,
        )
        for one in operations
    ]


def rest_of(
    gateway: Gateway, operations: Sequence[Operation], form: Form, under: str
) -> list[BaseRoute]:
    """Return the routes of all other paths below a path: 404 and 405, in the contract's form."""
    known = [(compile_path(under + one.path)[0], one.method) for one in operations]

    async def answer(call: Call) -> Response:
        path = f"{under}/{call.request.path_params['rest']}"
        methods = sorted({method for pattern, method in known if pattern.match(path)})
        if not methods:
            raise Problem(404, "not_found", "there is nothing at this path")
        headers = {"Allow": ", ".join(methods)}
        why = f"this path takes {headers['Allow']}"
        raise Problem(405, "method_not_allowed", why, headers=headers)

    any_path = Operation(method="", path="", answer=answer, name="", summary="", is_public=True)
    endpoint = _endpoint(gateway, any_path, form)
    return [Route(under + "/{rest:path}", endpoint, methods=METHODS, include_in_schema=False)]


def _endpoint(
    gateway: Gateway, operation: Operation, form: Form
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            caller = caller_of(request)
            if not operation.is_public and not caller.may(operation.role):
                raise Problem(
                    403,
                    "forbidden",
                    f"this key is a {caller.role}'s; it takes one of a {operation.role}",
                )
            return await operation.answer(Call(gateway, request, caller))
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                logger.exception("request_failed route=%s", operation.name)
                problem = Problem(500, "internal_error", "the gateway failed over this request")
            return form(problem)

    endpoint.__name__ = operation.name
    return endpoint


def caller_of(request: Request) -> Caller:
    """Return who calls."""
    found: Caller = getattr(request.state, "caller", EVERYBODY)
    return found


def form_of(path: str) -> Form:
    """Return how the contract answers that a path belongs to, where no route is reached."""
    is_own = any(path == one.path for one in OWN)
    return envelope if is_own or path.startswith("/api/v2/") else refusal


def envelope(problem: Problem) -> Response:
    """Answer as the Comfy API v2 and Everfold's own routes do."""
    told = {"code": problem.code, "message": problem.message, "details": problem.details}
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    return JSONResponse({"error": told}, problem.status, headers)
