"""`everfold serve`: the gateway, until a signal ends it; `everfold up --serve` runs it, too."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from everfold.commands.app import app
from everfold.commands.config.config_file import policy_settings
from everfold.commands.numbers import number
from everfold.commands.options import AssetsPlace
from everfold.commands.process.long_run import long_run
from everfold.commands.process.process import run_until_signal, running
from everfold.commands.process.process_options import PROCESS, ProcessOptions
from everfold.commands.session import DEFAULT, Session
from everfold.streams.border.secrets import SecretUrl
from everfold.streams.errors import EverfoldError, Misconfigured

if TYPE_CHECKING:
    from everfold.client import Everfold
    from everfold.web.serving.gateway_server import GatewayServer
    from everfold.web.settings import WebSettings

EXTRA = {"starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client"}


@Parameter(name="*")
@dataclass(frozen=True)
class WebOptions:
    """The options of a gateway."""

    host: Annotated[
        str, Parameter(help="The address to listen on; all others than loopback need keys.")
    ] = "127.0.0.1"
    port: Annotated[int, number("port", "The port to listen on; 0 picks a free one.")] = 8189
    front_end: Annotated[
        str,
        Parameter(
            help="The folder of ComfyUI's web front end, or one that has it: a virtual environment "
            "or a ComfyUI folder. Default: the installed comfyui-frontend-package."
        ),
    ] = ""
    allow_host: Annotated[
        list[str] | None,
        Parameter(
            help="A name by which it is reached; .example.com is each name below that. Repeat the "
            "option for several. Default: any with keys, this machine's own without."
        ),
    ] = None
    allow_origin: Annotated[
        list[str] | None,
        Parameter(
            help="An origin of pages that may call it, such as https://studio.example; with keys * "
            "is any. Repeat the option for several."
        ),
    ] = None
    trust_proxy: Annotated[
        list[str] | None,
        Parameter(
            help="Address or network of a proxy in front of it, whose X-Forwarded-... headers are "
            "believed. Repeat the option for several."
        ),
    ] = None

    trace_url: Annotated[
        str,
        Parameter(
            env_var="EVERFOLD_TRACE_URL",
            help="Where people see a trace, such as https://traces.example/trace/{trace_id}: the "
            "console links a job's trace there. Default: no link.",
        ),
    ] = ""

    def settings(self) -> WebSettings:
        """Return them as the gateway takes them."""
        from everfold.commands.config.backends import Backends
        from everfold.web.settings import WebSettings

        return WebSettings(
            front_end=self.front_end,
            allowed_hosts=tuple(self.allow_host or ()),
            allowed_origins=tuple(self.allow_origin or ()),
            trusted_proxies=tuple(self.trust_proxy or ()),
            trace_url=self.trace_url,
            accesses=Backends.read().known(),
        )


GATEWAY = WebOptions()


@long_run
async def serve(
    *,
    assets: AssetsPlace = None,
    web: WebOptions = GATEWAY,
    process: ProcessOptions = PROCESS,
    session: Session = DEFAULT,
) -> int:
    """Serve the gateway: one address for clients of ComfyUI and of the Comfy API v2.

    It keeps nothing of its own: any number of gateways may serve one namespace. While Redis is
    away it answers 503 with Retry-After. Ctrl-C or SIGTERM ends streams and connections within
    two seconds; a second one stops it at once.
    """
    async with (
        running(process, session) as this,
        serving(web, assets, session) as gateway,
    ):
        this.sources["gateway"] = gateway.metrics
        this.started()
        return await _run_until_signal(gateway, session)


@contextlib.asynccontextmanager
async def serving(
    web: WebOptions, assets: str | Path | None, session: Session, *, is_alone: bool = True
) -> AsyncIterator[GatewayServer]:
    """Listen, and yield what is to be run; `is_alone` without a runner in this process.

    It says where it listens once nothing is known to be wrong. Raises Misconfigured.
    """
    try:
        from everfold.listening.sockets import listen, raise_file_limit, urls
        from everfold.web.serving.gateway_server import GatewayServer
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        raise Misconfigured("the gateway needs: pip install 'everfold[server]'") from error
    raise_file_limit()
    with contextlib.ExitStack() as closing:
        sockets = [closing.enter_context(one) for one in listen(web.host, web.port)]
        told = _Told(urls(sockets), session, is_alone=is_alone)
        yield GatewayServer(
            sockets, lambda: _client(session, assets), web.settings(), told.wait, told.ready
        )


class _Told:
    """What a gateway says in its terminal."""

    def __init__(self, addresses: Sequence[str], session: Session, *, is_alone: bool) -> None:
        self._addresses, self._session, self._is_alone = addresses, session, is_alone
        self._is_announced = False

    def wait(self, why: str) -> None:
        """Say that Redis is away."""
        self._announce()
        lines = _wrapped("waits", f"{why}; until then it answers 503")
        self._session.tell({"ready": False, "why": why}, *lines)

    async def ready(self, everfold: Everfold) -> None:
        """Say that it serves, and what its jobs still need."""
        self._announce()
        lines = ["ready    yes"]
        if self._is_alone and not await _has_runner(everfold):
            lines += _wrapped(
                "runners", "none: jobs wait until there is `everfold runner`, or `everfold up`"
            )
        self._session.tell({"ready": True, "why": ""}, *lines)

    def _announce(self) -> None:
        if self._is_announced:
            return
        self._is_announced = True
        addresses, server = list(self._addresses), str(SecretUrl(self._session.url()))
        alone = (f"server   {server}",), ("stop     Ctrl-C ends it; once more stops at once",)
        before, after = alone if self._is_alone else ((), ())
        self._session.tell(
            {"gateway": addresses, "server": server, "namespace": self._session.namespace},
            *(f"gateway  {address}" for address in addresses),
            *before,
            "now      give that address to a client of ComfyUI, or to",
            f"         comfy-sdk as COMFY_BASE_URL={addresses[0]}",
            *after,
        )


async def _has_runner(everfold: Everfold) -> bool:
    try:
        return bool(await everfold.runners())
    except EverfoldError:
        return True  # it is not known, and nothing to end a gateway for


def _wrapped(label: str, sentence: str) -> list[str]:
    lines = textwrap.wrap(sentence, 80 - 9, break_long_words=False)
    return [f"{label if line is lines[0] else '':9}{line}" for line in lines]


@contextlib.asynccontextmanager
async def _client(session: Session, assets: str | Path | None) -> AsyncIterator[Everfold]:
    from everfold.client import Everfold
    from everfold.health.asking_server import warn_of_losses

    async with Everfold.connect(
        session.url(),
        namespace=session.namespace,
        actor="gateway",
        role="gateway",
        config=policy_settings(app),
        assets=assets,
        replicas=session.asked_replicas,
    ) as everfold:
        log = everfold.log
        await warn_of_losses(log.redis, log.url, log.replicas.count)
        yield everfold


async def _run_until_signal(gateway: GatewayServer, session: Session) -> int:
    """Run until a signal stops it; a second one cancels it. Return the exit code."""

    def stop() -> None:
        session.tell({"stopping": "soon"}, "stopping")
        gateway.stop()

    def stop_at_once() -> None:
        session.tell({"stopping": "at once"}, "stopping at once")

    return await run_until_signal(gateway.run, stop, stop_at_once)
