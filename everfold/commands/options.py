"""The options that several commands share. Rule: each is described here, once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Group, Parameter, Token

from everfold.commands.numbers import duration, number
from everfold.commands.times import PastTime


def chosen(what: str, *names: str) -> Parameter:
    """Return the parameter of an option that selects; `what` is the help. An empty value, which a
    script has where a variable of it is not set, would select all: it is refused."""
    return Parameter(name=names or None, help=what, validator=_not_empty)


def _not_empty(_: object, value: object) -> None:
    if value == "" or (isinstance(value, list | tuple) and "" in value):
        raise ValueError("is empty: give it a value, or leave it out")


Namespace = Annotated[
    str,
    Parameter(
        alias="-n",
        env_var="EVERFOLD_NAMESPACE",
        help="The namespace; others are not touched.",
    ),
]
RedisUrl = Annotated[
    str | None,
    Parameter(
        env_var="REDIS_URL",
        help="The server: redis://, rediss:// or unix://, redis+sentinel:// or redis+cluster://. "
        "Default: the one in the file that REDIS_URL_FILE names, else that of REDIS_HOST, else the "
        "embedded server.",
    ),
]
RedisCa = Annotated[
    Path | None,
    Parameter(
        env_var="REDIS_CA",
        help="Authorities (PEM) that a rediss:// server's certificate may be signed by, besides "
        "the system's.",
    ),
]
RedisCert = Annotated[
    Path | None,
    Parameter(
        env_var="REDIS_CERT", help="The client certificate (PEM), for a server that wants one."
    ),
]
RedisKey = Annotated[
    Path | None,
    Parameter(
        env_var="REDIS_KEY", help="The key of the client certificate. Default: in the same file."
    ),
]
RedisCheckHostname = Annotated[
    bool,
    Parameter(
        env_var="REDIS_CHECK_HOSTNAME",
        negative="--no-redis-check-hostname",
        help="Whether the certificate must be for the host in the URL.",
    ),
]
ReplicaCount = Annotated[
    int | None,
    number(
        "replicas",
        "Replicas of the server that must have what is acknowledged: submits, ends, cancels, "
        "releases. Without it a failover may lose what is newest, and only the intent to send a "
        "prompt waits, for the replicas that Sentinel or a cluster names; with 0 nothing.",
        variable="EVERFOLD_REPLICAS",
    ),
]
ReplicasWithin = Annotated[
    float,
    duration(
        "replicas_within_s",
        "How long each write waits for them, before it is repeated.",
        variable="EVERFOLD_REPLICAS_WITHIN",
    ),
]
ReplicasForEvents = Annotated[
    Literal["ends", "all"],
    Parameter(
        env_var="EVERFOLD_REPLICAS_FOR",
        help="Whether all events of a job wait for them, or only ends, cancels, releases and the "
        "intent to send a prompt.",
    ),
]
Json = Annotated[bool, Parameter(help="Print JSON, one object per line.")]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Form = Literal["text", "json"]


def _level(_: object, tokens: Sequence[Token]) -> str:
    if tokens[0].value.upper() not in get_args(Level):
        raise ValueError("no level of logging")
    return tokens[0].value


LogLevel = Annotated[
    Level | None,
    Parameter(
        env_var="EVERFOLD_LOG",
        converter=_level,
        help="The level from which it logs to standard error. Default: INFO for what runs until a "
        "signal, else WARNING.",
    ),
]
LogFormat = Annotated[
    Form | None,
    Parameter(
        env_var="EVERFOLD_LOG_FORMAT",
        help="Whether a line of that log is text or a JSON object. Default: text on a terminal, "
        "else json.",
    ),
]
ConfigPath = Annotated[
    Path | None,
    Parameter(
        env_var="EVERFOLD_CONFIG", help="The config file. Default: the nearest everfold.toml."
    ),
]
COMMON = Group("Common options", sort_key=9)

ComfyUrls = Annotated[
    list[str] | None,
    Parameter(
        name="--comfyui",
        validator=_not_empty,
        env_var="COMFYUI_URL",
        metavar="URL...",
        help="The address of a ComfyUI server. Repeat the option, or separate with commas.",
    ),
]
Queues = Annotated[
    list[str] | None,
    Parameter(
        name="--queue", help="A queue to serve. Repeat the option for several. Default: default."
    ),
]
Slots = Annotated[
    int, number("slots", "Jobs that one ComfyUI may hold: one of them runs, the others wait there.")
]
Drain = Annotated[
    float,
    duration(
        "drain_s", "How long running jobs may take to end after Ctrl-C; then they are released."
    ),
]
IndexMetadata = Annotated[
    list[str] | None,
    Parameter(
        name="--index-metadata",
        help="A name in the jobs' metadata by whose values lists find jobs without reading "
        "others. Repeat the option for more, at most 8. Then run `everfold projector rebuild`.",
    ),
]
DataFolder = Annotated[
    Path | None,
    Parameter(env_var="EVERFOLD_DATA", help="The folder of the embedded server's data."),
]


JobId = Annotated[
    str,
    Parameter(help="The job's id, or at least 4 characters of its beginning or its end."),
]
AnyJobId = Annotated[
    str | None,
    chosen("The job's id, or a part of it as for `jobs show`. Default: all jobs."),
]
OnlyJob = Annotated[
    str | None, chosen("Only this job: its id, or a part of it as for `jobs show`.", "--job")
]
SubscriptionName = Annotated[str, Parameter(help="The subscription's name.")]
ArchiveUrl = Annotated[
    str,
    Parameter(
        name="--archive",
        env_var="EVERFOLD_ARCHIVE",
        metavar="URL",
        help="The archive: a folder, or s3://bucket/prefix. Default: the one that the namespace "
        "remembers.",
    ),
]
AssetsPlace = Annotated[
    str | None,
    Parameter(
        name="--assets",
        env_var="EVERFOLD_ASSETS",
        metavar="PATH|URL",
        help="Where the bytes of assets are: a folder, or s3://bucket/prefix. The same place for "
        "all processes. Default: the folder `assets` in the data folder.",
    ),
]
ProjectionPlace = Annotated[
    str,
    Parameter(
        name="--projection",
        metavar="MODULE:NAME",
        help="A projection of your own. Default: that of jobs.",
    ),
]

User = Annotated[str | None, Parameter(help="Only jobs of this user.")]
SubmittedSince = Annotated[
    PastTime | None,
    Parameter(name=("--since", "--from"), help="Only jobs that were submitted since then."),
]
SubmittedUntil = Annotated[
    PastTime | None, Parameter(name="--until", help="Only jobs that were submitted until then.")
]
