"""The command line as a whole: every command, with the sentence that lists show.

Rule: this file imports no command. A command is loaded when it is used, so its sentence stands
here too; a test compares it with the command's docstring.
"""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import App, Parameter

from everfold import __version__
from everfold.commands.arguments import command_words

HELP = """Run ComfyUI jobs that survive crashes: every change is an event in a log in Redis.

Exit codes: 0 done; 1 the job or the check failed; 2 wrong use, input or settings; 3 no such thing;
4 the server cannot be reached; 130 interrupted. `--json` prints one JSON object per line.

A DURATION is 90s, 15m, 2h, 7d, or a number of seconds. A TIME is an age (2h), or a time such as
2030-01-31T12:00:00Z. A job is named by its id, or by 4 characters or more of its beginning or end.

Every option can be set in the environment too: EVERFOLD_SUBMIT_QUEUE is `--queue` of `submit`.
REDIS_URL (or REDIS_URL_FILE, or REDIS_HOST and REDIS_PORT), COMFYUI_URL, EVERFOLD_NAMESPACE,
EVERFOLD_DATA and EVERFOLD_ARCHIVE are for all commands. What neither a flag nor a variable sets
comes from `everfold.toml` in this folder or one above, or from the file that `--config` names.

Common options (`-n NAMESPACE`, `--json`, `--redis-url`) may stand before the command, too.
`everfold help COMMAND` and `everfold help TOPIC` say more; `everfold help` lists the topics.
"""

COMMANDS = {
    "demo": (
        "operate.demo:demo",
        "See thirteen jobs survive the kill -9 of a runner and the loss of a ComfyUI.",
    ),
    "up": (
        "operate.work:up",
        "Run everything in one process: server, projector, runner, callbacks, and sinks.",
    ),
    "serve": (
        "gateway.serve:serve",
        "Serve the gateway: one address for clients of ComfyUI and of the Comfy API v2.",
    ),
    "metrics": (
        "operate.metrics:metrics",
        "Show the numbers of a namespace to Prometheus, once for all its processes.",
    ),
    "runner": (
        "operate.work:runner",
        "Run a runner: it takes jobs, drives ComfyUI, and recovers the jobs of dead runners.",
    ),
    "projector": (
        "operate.projector:projector",
        "Run a projector, show its lag, rebuild states.",
    ),
    "simulator": (
        "operate.simulator:simulator",
        "Run a simulator of a ComfyUI server. Nodes that need no model run for real.",
    ),
    "backends": (
        "operate.backends:backends",
        "List the ComfyUI servers; take one out of service.",
    ),
    "runners": (
        "operate.runners:runners",
        "List the runners; ask one to drain.",
    ),
    "queues": (
        "queues.queues:queues",
        "List the queues; pause one, resume it.",
    ),
    "limits": (
        "queues.limits:limits",
        "List, set and remove limits of jobs, users' shares, and what users may store.",
    ),
    "keys": (
        "gateway.keys:keys",
        "Add, list and revoke the keys with which the gateway is called.",
    ),
    "assets": (
        "assets.assets:assets",
        "List, show, get, put and remove stored files; sweep and verify the store.",
    ),
    "upgrade": (
        "operate.upgrade:upgrade",
        "Show which event versions every process can read, and let programs write the newest.",
    ),
    "archive": (
        "stream.archive:archive",
        "Keep what Redis forgets; trim the log; query it with SQL.",
    ),
    "subscriptions": (
        "stream.subscriptions:subscriptions",
        "List who reads the stream; retry or skip held jobs; reset, remove.",
    ),
    "sink": ("stream.sink:sink", "Write jobs to a database, a webhook, or analytics."),
    "submit": ("jobs.submit:submit", "Submit a workflow in ComfyUI's API format."),
    "jobs": (
        "jobs.jobs:jobs",
        "List, show, explain, watch, wait for, cancel, rerun and give up jobs.",
    ),
    "batches": ("jobs.batches:batches", "List, show, wait for and cancel batches of jobs."),
    "events": ("jobs.events:events", "Print the events of a job, or of all jobs."),
    "schema": (
        "stream.schema:schema",
        "Print the contracts of the log and the gateway, for programs in any language.",
    ),
    "health": (
        "diagnosis.health:health",
        "Say in one line whether one process works; the exit code is 1 when it does not.",
    ),
    "doctor": (
        "diagnosis.doctor:doctor",
        "Check server, namespace, projector, runners, queues and backends, and say what to change.",
    ),
    "erase": (
        "operate.erase:erase",
        "Show what there is of a user; with --yes make it unreadable, for ever.",
    ),
    "acl": (
        "operate.acl:acl",
        "Print the least rights that a role needs on the server, as ACL SETUSER.",
    ),
    "help": ("help.help:help", "Show the help of a command, or of a topic."),
    "config": ("config.config:config", "Show and check the config file, everfold.toml."),
    "--install-completion": (
        "completion:install_completion",
        "Install completion for your shell.",
    ),
}
AUDIT = {
    "verify": (
        "audit.verify:verify",
        "Check every history, head, lease and state of a live namespace; change nothing.",
    ),
    "timeline": (
        "audit.timeline:timeline",
        "Draw what happened to jobs over time: waiting, running, recovering, and how they ended.",
    ),
    "show": (
        "audit.show:show",
        "Show a job's history, event by event, archived events included.",
    ),
    "acts": (
        "audit.acts:acts",
        "List what operators did, and who: the newest 10,000 acts are kept.",
    ),
    "prove": (
        "audit.prove:prove",
        "Check every segment against its manifest, and every manifest against the next one.",
    ),
    "replay": (
        "audit.replay:replay",
        "Publish recorded events into another namespace, or a file of JSON lines.",
    ),
}
ALIASES = {"subscriptions": "consumers"}


def _default(value: object) -> str | None:
    """Return a default as help shows it: an empty one says nothing."""
    return str(value) if value else None


def _add(app: App, commands: dict[str, tuple[str, str]]) -> None:
    for name, (place, sentence) in commands.items():
        alias = ALIASES.get(name, ())
        app.command(f"everfold.commands.{place}", name=name, alias=alias, help=sentence)


app = App(
    name="everfold",
    help=HELP,
    version=__version__,
    default_parameter=Parameter(negative=(), show_default=_default),
    suppress_keyboard_interrupt=False,
)
_add(app, COMMANDS)
audit = App(name="audit", help="Prove that what is stored is as it must be; show what happened.")
_add(audit, AUDIT)
app.command(audit)


def show_whole_help(arguments: Sequence[str]) -> None:
    """Let the help page of the command that is named show all of its docstring."""
    chosen = app
    for word in command_words(app, arguments):
        chosen = chosen[word]
    if chosen.default_command is not None:
        chosen.help = None
