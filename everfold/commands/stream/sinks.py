"""The options of the sinks, for their own commands and for `everfold up`, and what runs them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
from cyclopts import Parameter, Token

from everfold.archives.opening import known_archive
from everfold.commands.config.secret_sources import NoSecret, secret_of_file
from everfold.commands.numbers import duration, durations
from everfold.commands.options import chosen
from everfold.commands.session import Session
from everfold.commands.times import A_TIME, moment, to_ms
from everfold.projector.subscribing.consumer import Consumer
from everfold.projector.subscribing.subscription import BEGINNING, NOW, Subscription
from everfold.runner.config import runner_name
from everfold.streams.appending.log import Log
from everfold.streams.errors import Misconfigured, Refused

if TYPE_CHECKING:
    from everfold.sinks.callbacks import CallbackSink
    from everfold.sinks.webhook import WebhookSink


def start_point(text: str) -> str:
    """Return a point as subscriptions take it: times as Unix ms. Raises Refused."""
    if text in (BEGINNING, NOW) or (text.replace("-", "").isdigit() and len(text) > 10):
        return text
    time = moment(text)
    if time is None:
        raise Refused(
            f"{text!r} is not a point to begin at: write beginning, now, an entry id such as "
            f"1700000000000-0, or for a time {A_TIME}"
        )
    return str(to_ms(time))


def _start(_: object, tokens: Sequence[Token]) -> str:
    return start_point(tokens[0].value)


Start = Annotated[
    str,
    Parameter(
        converter=_start,
        metavar="POINT",
        help="Where a new subscription begins: beginning, now, an entry id, an age (2h) or a time.",
    ),
]
SinkName = Annotated[
    str,
    Parameter(help="The subscription's name. Give another name for a second sink of this kind."),
]
SinkTypes = Annotated[
    tuple[str, ...],
    Parameter(
        help="Send events of this type only, such as succeeded. Repeat the option for several. "
        "Default: submitted, started, recovered, retried, succeeded, failed, canceled, expired."
    ),
]


Secrets = Annotated[
    tuple[str, ...],
    Parameter(
        help="The signing secret, whsec_... Repeat the option while you change it. Set it in "
        "the environment or the config file: a command line can be seen by others."
    ),
]
SecretFile = Annotated[
    Path | None,
    Parameter(help="A file with the signing secret, as it is mounted into containers."),
]
AllowPrivate = Annotated[bool, Parameter(help="Allow receivers in private networks, and http://.")]
Timeout = Annotated[float, duration("timeout_s", "The longest time for one message.")]
Retry = Annotated[
    tuple[float, ...],
    durations(
        "retry_s",
        "The wait before each further try. Repeat the option. Default: nine tries in three days.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class SqlOptions:
    """A row per job in a database."""

    url: Annotated[
        str,
        Parameter(
            help="The database: sqlite+aiosqlite:///jobs.db or postgresql+asyncpg://host/database."
        ),
    ]
    events: Annotated[bool, Parameter(help="Also keep a row for each event.")] = False
    progress: Annotated[
        bool, Parameter(help="Also write each progress of a job, not only each change.")
    ] = False
    name: SinkName = "sql"
    start: Start = BEGINNING


@dataclass(frozen=True, kw_only=True)
class WebhookOptions:
    """Signed messages (standardwebhooks.com) to a receiver of yours."""

    url: Annotated[str, Parameter(help="The receiver's address, https://...")]
    secret: Secrets = ()
    secret_file: SecretFile = None
    types: SinkTypes = ()
    kind: Annotated[
        tuple[str, ...], chosen("Only jobs of this kind. Repeat the option for several.")
    ] = ()
    user: Annotated[
        tuple[str, ...], Parameter(help="Only jobs of this user. Repeat the option for several.")
    ] = ()
    allow_private: AllowPrivate = False
    timeout: Timeout = 20.0
    retry: Retry = ()
    name: SinkName = "webhook"
    start: Start = NOW


def _sink_webhook(name: str) -> Parameter:
    return Parameter(
        env_var=(f"EVERFOLD_SINK_WEBHOOK_TEST_{name}", f"EVERFOLD_SINK_WEBHOOK_{name}")
    )


@dataclass(frozen=True, kw_only=True)
class WebhookTestOptions(WebhookOptions):
    """The same, also set by the variables of the sink that is tested."""

    url: Annotated[str, Parameter(help="The receiver's address, https://..."), _sink_webhook("URL")]
    secret: Annotated[Secrets, _sink_webhook("SECRET")] = ()
    secret_file: Annotated[SecretFile, _sink_webhook("SECRET_FILE")] = None
    allow_private: Annotated[AllowPrivate, _sink_webhook("ALLOW_PRIVATE")] = False
    timeout: Annotated[Timeout, _sink_webhook("TIMEOUT")] = 20.0


@dataclass(frozen=True, kw_only=True)
class CallbackOptions:
    """Signed messages (standardwebhooks.com) about the ends of jobs, to the URLs of the jobs."""

    secret: Secrets = ()
    secret_file: SecretFile = None
    allow_private: AllowPrivate = False
    timeout: Timeout = 20.0
    retry: Retry = ()
    name: SinkName = "callbacks"
    start: Start = BEGINNING


@dataclass(frozen=True, kw_only=True)
class PostHogOptions:
    """Analytics: an event for each submit and each recovery."""

    key: Annotated[str, Parameter(help="The project's key, phc_...")]
    host: Annotated[
        str, Parameter(help="The server: https://eu.i.posthog.com, or one of your own.")
    ] = "https://us.i.posthog.com"
    name: SinkName = "posthog"
    start: Start = NOW


CALLBACKS = CallbackOptions()

Options = SqlOptions | WebhookOptions | CallbackOptions | PostHogOptions


@contextlib.asynccontextmanager
async def opened(
    log: Log, options: Options, *, patient: bool = False
) -> AsyncIterator[Subscription]:
    """Open a sink. Raises Misconfigured; and Unavailable when its target cannot be reached,
    unless `patient`."""
    match options:
        case SqlOptions():
            async with _sql(log, options, patient) as sink:
                yield sink
        case WebhookOptions():
            async with contextlib.aclosing(webhook(options)) as sink:
                yield sink
        case CallbackOptions():
            async with contextlib.aclosing(_callbacks(log, options)) as sink:
                yield sink
        case PostHogOptions():
            from everfold.sinks.posthog import PostHogSink

            made = PostHogSink(
                log, options.key, host=options.host, name=options.name, start=options.start
            )
            async with contextlib.aclosing(made) as sink:
                yield sink


def signed(options: CallbackOptions, data: Path | None, session: Session) -> CallbackOptions | None:
    """Return the options with a secret: a given one, else one that the data folder keeps.

    None, and a sentence to the user, where that folder cannot be written.
    """
    if options.secret or options.secret_file:
        return options
    from everfold.embedded.data_folder import default_data_folder
    from everfold.sinks.callback_secret import secret_file

    try:
        path, secret = secret_file(data or default_data_folder(os.environ))
    except Misconfigured as error:
        session.tell({"callbacks": str(error)}, f"no callbacks are sent: {error}")
        return None
    session.tell({"callback_secret": str(path)}, f"signed   callbacks, with the secret in {path}")
    return replace(options, secret=(secret.reveal(),))


def _secrets(given: tuple[str, ...], file: Path | None) -> tuple[str, ...]:
    """Return all secrets. Raises Misconfigured for a file that has none."""
    if file is None:
        return given
    try:
        return (*given, secret_of_file(str(file)).reveal())
    except NoSecret as error:
        raise Misconfigured(f"--secret-file: {error}") from None


def _callbacks(log: Log, options: CallbackOptions) -> CallbackSink:
    from everfold.sinks.callbacks import CallbackSink
    from everfold.sinks.receiver import RETRY_S

    return CallbackSink(
        log,
        _secrets(options.secret, options.secret_file),
        name=options.name,
        start=options.start,
        retry_s=options.retry or RETRY_S,
        timeout_s=options.timeout,
        allow_private=options.allow_private,
    )


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
    from everfold.sinks.receiver import RETRY_S
    from everfold.sinks.webhook import TYPES, WebhookSink

    return WebhookSink(
        options.url,
        _secrets(options.secret, options.secret_file),
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
    log: Log, sinks: Sequence[Options | None], *, patient: bool = False
) -> AsyncIterator[list[Subscription]]:
    """Run the sinks that are set while the context is open; deliveries in progress are finished."""
    async with contextlib.AsyncExitStack() as stack:
        opening = [opened(log, options, patient=patient) for options in sinks if options]
        found = [await stack.enter_async_context(sink) for sink in opening]
        archive = await known_archive(log)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        for subscription in found:
            consumer = Consumer(log, runner_name("sink"), subscription, archive)
            await tasks.start(consumer.run)
        yield found
        tasks.cancel_scope.cancel()
