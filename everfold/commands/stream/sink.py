"""`everfold sink sql|webhook|posthog`: ready-made subscriptions that write to a target."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import uuid4

import anyio
from cyclopts import App, Parameter

from everfold.commands.output import say
from everfold.commands.process.process import INTERRUPTED, ending_signals, running
from everfold.commands.process.process_options import PROCESS, ProcessOptions
from everfold.commands.session import DEFAULT, Session
from everfold.commands.stream.sinks import (
    CALLBACKS,
    CallbackOptions,
    Options,
    PostHogOptions,
    SqlOptions,
    WebhookOptions,
    WebhookTestOptions,
    consuming,
)
from everfold.commands.stream.sinks import webhook as webhook_sink
from everfold.projector.subscribing.subscription import GiveUp, TryLater
from everfold.runner.config import runner_name
from everfold.streams.closing import close

sink = App(name="sink", help="Write jobs to a database, a webhook, or analytics.")

Sql = Annotated[SqlOptions, Parameter(name="*")]
Webhook = Annotated[WebhookOptions, Parameter(name="*")]
WebhookTest = Annotated[WebhookTestOptions, Parameter(name="*")]
Callbacks = Annotated[CallbackOptions, Parameter(name="*")]
PostHog = Annotated[PostHogOptions, Parameter(name="*")]


@sink.command
async def sql(
    options: Sql, *, process: ProcessOptions = PROCESS, session: Session = DEFAULT
) -> int:
    """Keep a row per job in SQLite or PostgreSQL. Missing tables are created."""
    return await _run(options, process, session)


webhook = App(name="webhook", help="Send signed messages to a receiver, or a test message.")
sink.command(webhook)


@webhook.default
async def run_webhook(
    options: Webhook, *, process: ProcessOptions = PROCESS, session: Session = DEFAULT
) -> int:
    """Send a signed message for each event, in each job's order, with retries for three days."""
    return await _run(options, process, session)


@webhook.command(name="test")
async def test_webhook(options: WebhookTest) -> int:
    """Send one message of the type everfold.test; exit code 1 when it was not accepted."""
    tried = webhook_sink(options)
    body = b'{"type":"everfold.test","timestamp":"%s","data":{}}' % _now().encode()
    began = anyio.current_time()
    try:
        status = await tried.post(f"msg_{uuid4()}", body)
    except (GiveUp, TryLater) as error:
        say(f"not accepted: {error}")
        return 1
    finally:
        await close(tried)
    say(f"accepted: {status} after {anyio.current_time() - began:.2f} s")
    return 0


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@sink.command
async def callbacks(
    options: Callbacks = CALLBACKS, *, process: ProcessOptions = PROCESS, session: Session = DEFAULT
) -> int:
    """Tell the end of each job that was submitted with --callback, with retries for three days."""
    return await _run(options, process, session)


@sink.command
async def posthog(
    options: PostHog, *, process: ProcessOptions = PROCESS, session: Session = DEFAULT
) -> int:
    """Send an event to PostHog for each submit and each recovery, without the graph."""
    return await _run(options, process, session)


async def _run(options: Options, process: ProcessOptions, session: Session) -> int:
    """Run one sink until a signal: it finishes its deliveries; a second signal ends it at once."""
    async with (
        running(process, session) as this,
        session.log(runner_name("sink"), role="consumer", creates=True) as log,
        ending_signals() as signals,
        anyio.create_task_group() as tasks,
    ):
        async with consuming(log, [options]) as (found,):
            told = {"sink": found.name, "about": found.about}
            session.tell(told, f"sink {found.name}: {found.about}")
            this.serves(log)
            this.started()
            await anext(signals)
            tasks.start_soon(_end_at_once, signals)
        tasks.cancel_scope.cancel()
    return 0


async def _end_at_once(signals: AsyncIterator[signal.Signals]) -> None:
    await anext(signals)
    os._exit(INTERRUPTED)
