"""The options of the sinks, for their own commands and for `everfold up`, and how they are run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import anyio.abc
from cyclopts import Parameter

from everfold.archives.opening import known_archive
from everfold.projector.subscribing.consumer import Consumer
from everfold.projector.subscribing.subscription import Subscription
from everfold.runner.config import runner_name
from everfold.streams.appending.log import Log
from everfold.streams.errors import Misconfigured

if TYPE_CHECKING:
    from everfold.sinks.webhook import WebhookSink


@Parameter(negative="")
@dataclass(frozen=True, kw_only=True)
class SqlOptions:
    """Database records of jobs."""

    url: str
    """sqlite+aiosqlite:///jobs.db or postgresql+asyncpg://user:password@host/database"""
    events: bool = False
    """Keep a row for each event too."""
    progress: bool = False
    """Bring a job's row up to date with each progress, not only with each change."""
    name: str = "sql"
    """Of the subscription; another one for another database."""
    start: str = "beginning"
    """Where a new subscription begins: beginning, now, an entry id."""


@Parameter(negative="")
@dataclass(frozen=True, kw_only=True)
class WebhookOptions:
    """Signed messages (standardwebhooks.com) to a receiver of yours."""

    url: str
    """Of the receiver, https://..."""
    secret: tuple[str, ...] = ()
    """whsec_...; several while you change from one to the next. Better in the environment or the
    config file than on the command line, which others can see."""
    types: tuple[str, ...] = ()
    """Events to send, such as succeeded; several. Default: submitted, started, recovered, retried
    and the four ends."""
    kind: tuple[str, ...] = ()
    """Only jobs of this kind; several."""
    user: tuple[str, ...] = ()
    """Only jobs of this user; several."""
    allow_private: bool = False
    """Allow receivers in private networks, and http://."""
    timeout: float = 20.0
    """Seconds for one message."""
    retry: tuple[float, ...] = ()
    """Seconds to wait before each further try; several. Default: nine tries over three days."""
    name: str = "webhook"
    """Of the subscription; another one for another receiver."""
    start: str = "now"
    """Where a new subscription begins: beginning, now, an entry id."""


@Parameter(negative="")
@dataclass(frozen=True, kw_only=True)
class PostHogOptions:
    """Analytics: one event per submit, one per recovery."""

    key: str
    """Key of the project, phc_..."""
    host: str = "https://us.i.posthog.com"
    """https://eu.i.posthog.com, or your own."""
    name: str = "posthog"
    """Of the subscription."""
    start: str = "now"
    """Where a new subscription begins: beginning, now, an entry id."""


Options = SqlOptions | WebhookOptions | PostHogOptions


@contextlib.asynccontextmanager
async def opened(
    log: Log, options: Options, *, patient: bool = False
) -> AsyncIterator[Subscription]:
    """Open a sink. Raises Misconfigured, or, unless it is to be patient, Unavailable where its
    target has to be there."""
    match options:
        case SqlOptions():
            async with _sql(log, options, patient) as sink:
                yield sink
        case WebhookOptions():
            async with contextlib.aclosing(webhook(options)) as sink:
                yield sink
        case PostHogOptions():
            from everfold.sinks.posthog import PostHogSink

            made = PostHogSink(
                log, options.key, host=options.host, name=options.name, start=options.start
            )
            async with contextlib.aclosing(made) as sink:
                yield sink


@contextlib.asynccontextmanager
async def _sql(log: Log, options: SqlOptions, patient: bool) -> AsyncIterator[Subscription]:
    try:
        from everfold.sinks.sql import SqlSink
    except ImportError as error:
        raise Misconfigured("the SQL sink needs: pip install 'everfold[sql]'") from error
    made = SqlSink(
        log,
        options.url,
        name=options.name,
        events=options.events,
        progress=options.progress,
        start=options.start,
    )
    async with contextlib.aclosing(made) as sink:
        if not patient:
            await sink.open()
        yield sink


def webhook(options: WebhookOptions) -> WebhookSink:
    from everfold.sinks.webhook import RETRY_S, TYPES, WebhookSink

    return WebhookSink(
        options.url,
        options.secret,
        name=options.name,
        types=options.types or TYPES,
        kinds=options.kind,
        users=options.user,
        start=options.start,
        retry_s=options.retry or RETRY_S,
        timeout_s=options.timeout,
        allow_private=options.allow_private,
    )


@contextlib.asynccontextmanager
async def consuming(
    log: Log, sinks: Sequence[Options], *, patient: bool = False
) -> AsyncIterator[list[Subscription]]:
    """Run sinks while the context is open; what they are at is finished before it closes."""
    async with contextlib.AsyncExitStack() as stack:
        opening = [opened(log, options, patient=patient) for options in sinks]
        found = [await stack.enter_async_context(sink) for sink in opening]
        archive = await known_archive(log)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        for subscription in found:
            consumer = Consumer(log, runner_name("sink"), subscription, archive)
            await tasks.start(consumer.run)
        yield found
        tasks.cancel_scope.cancel()
