"""Makes the ASGI application out of the rows of all contracts.

Rule: an answer is always in the form of its contract, whatever goes wrong in a route.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute, compile_path
from starlette.websockets import WebSocket

from everfold.client import Everfold
from everfold.streams.border.logger import get_logger
from everfold.web.access.gate import Gate
from everfold.web.caller import NOBODY, Caller
from everfold.web.comfyui.socket.client_socket import SOCKET_PATHS, serve_socket
from everfold.web.contracts import CONTRACTS, Contract, Form, form_of
from everfold.web.counters import CountedRequests, note_route
from everfold.web.gateway import Gateway
from everfold.web.operation import Call, Operation
from everfold.web.problem import Problem, problem_of
from everfold.web.settings import WebSettings

logger = get_logger("everfold.web")

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def app(everfold: Everfold, settings: WebSettings | None = None) -> Starlette:
    """Return the gateway of an open client, to be served alone or mounted in an application.

    It must be entered by its lifespan, or, where it is mounted in an application that does not
    pass that on, by `async with gateway.router.lifespan_context(gateway)`.
    """
    settings = settings or WebSettings()
    gateway = Gateway(everfold, settings)
    gateway.doorkeeper.is_public = _public_among(routes := _routes(gateway))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway.open():
            yield

    middleware = [
        Middleware(CountedRequests, gateway.counters),
        Middleware(Gate, gateway.doorkeeper, gateway.streams, settings, form_of),
    ]
    made = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=middleware,
        exception_handlers={HTTPException: _unrouted(routes)},
    )
    made.state.gateway = gateway
    return made


def _public_among(routes: Sequence[BaseRoute]) -> Callable[[str, str], bool]:
    """Return what says of a method and a path whether no key is asked for."""
    known = [route for route in routes if isinstance(route, Route)]

    def is_public(method: str, path: str) -> bool:
        for route in known:
            if method in (route.methods or ()) and route.path_regex.match(path):
                return bool(getattr(route.endpoint, "is_public", False))
        return False

    return is_public


def _unrouted(routes: Sequence[BaseRoute]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Return what answers, in the form of the path's contract, where no route fits a request."""
    known = [route for route in routes if isinstance(route, Route)]

    async def answer(request: Request, error: Exception) -> Response:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        fitting = [route for route in known if route.path_regex.match(path)]
        methods = sorted({method for route in fitting for method in route.methods or ()})
        return form_of(path)(_no_such_method(methods))

    return answer


def _no_such_method(methods: Sequence[str]) -> Problem:
    if not methods:
        return Problem(404, "not_found", "there is nothing at this path")
    allowed = ", ".join(methods)
    headers = {"Allow": allowed}
    return Problem(405, "method_not_allowed", f"this path takes {allowed}", headers=headers)


def _routes(gateway: Gateway) -> list[BaseRoute]:
    found: list[BaseRoute] = [
        WebSocketRoute(path, partial(serve_socket, gateway)) for path in SOCKET_PATHS
    ]
    for one in CONTRACTS:
        for under in one.under:
            found += routes_of(gateway, one.operations, one.form, under)
        if one.alone_below:
            found += rest_of(gateway, one)
    return [*found, WebSocketRoute("/{path:text}", _no_socket)]


async def _no_socket(websocket: WebSocket) -> None:
    path = websocket.scope["path"].removeprefix(websocket.scope.get("root_path", ""))
    places = " and ".join(SOCKET_PATHS)
    problem = Problem(404, "not_found", f"there is no websocket at this path, only at {places}")
    await websocket.send_denial_response(form_of(path)(problem))


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


def rest_of(gateway: Gateway, contract: Contract) -> list[BaseRoute]:
    """Return the routes of all other paths below a path: 404 and 405, in the contract's form."""
    rows, below = contract.operations, contract.alone_below
    known = [(compile_path(contract.under[0] + one.path)[0], one.method) for one in rows]

    async def answer(call: Call) -> Response:
        path = f"{below}/{call.request.path_params['rest']}"
        methods = sorted({method for pattern, method in known if pattern.match(path)})
        raise _no_such_method(methods)

    any_path = Operation(method="", path="", answer=answer, name="rest", summary="", is_public=True)
    endpoint = _endpoint(gateway, any_path, contract.form)
    return [Route(below + "/{rest:text}", endpoint, methods=METHODS, include_in_schema=False)]


def _endpoint(
    gateway: Gateway, operation: Operation, form: Form
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        note_route(request.scope, operation.name)
        try:
            caller = caller_of(request)
            if not operation.is_public and caller == NOBODY:
                raise Problem(401, "unauthorized", "a key is needed")
            if not operation.is_public and not caller.may(operation.role):
                why = f"a key of role {caller.role} may not do this: it takes {operation.role}"
                raise Problem(403, "forbidden", why)
            return await operation.answer(Call(gateway, request, caller))
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                logger.exception("request_failed route=%s", operation.name)
                problem = Problem(500, "internal_error", "the gateway failed over this request")
            return form(problem)

    endpoint.__name__ = operation.name
    endpoint.is_public = operation.is_public  # type: ignore[attr-defined]
    return endpoint


def caller_of(request: Request) -> Caller:
    """Return who calls."""
    found: Caller = getattr(request.state, "caller", NOBODY)
    return found
