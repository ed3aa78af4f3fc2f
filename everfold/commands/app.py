"""The command line as a whole: which commands there are, loaded only when they are used."""

from __future__ import annotations

from cyclopts import App
from cyclopts.config import Env

from everfold import __version__
from everfold.commands.config.config_file import ConfigFile

HELP = """Keeps ComfyUI jobs alive: every change in a log, carried on when a runner dies.

Exit codes: 0 done; 1 the job or the check failed; 2 wrong use, input or settings; 3 no such job;
4 the server cannot be reached; 130 interrupted. `--json` prints one JSON object per line.

Environment: REDIS_URL or REDIS_HOST and REDIS_PORT (else the embedded server), COMFYUI_URL
(comma-separated), EVERFOLD_NAMESPACE, EVERFOLD_DATA, and one for each option, such as
EVERFOLD_SUBMIT_QUEUE. What neither a flag nor a variable sets comes from `everfold.toml` here or
in a folder above, or from the file that `--config` or EVERFOLD_CONFIG names.
"""

ENVIRONMENT = Env("EVERFOLD_")

app = App(name="everfold", help=HELP, version=__version__, config=ENVIRONMENT)

# Written here too, because a command is loaded only when it is used.
COMMANDS = {
    "demo": ("operate.demo:demo", "See twelve jobs survive the kill -9 of a runner."),
    "up": ("operate.work:up", "Run everything in one process: server, projector, runner."),
    "runner": ("operate.work:runner", "Run a runner: takes jobs, drives ComfyUI, recovers."),
    "projector": (
        "operate.projector_app:projector",
        "Run a projector, see how far it is, rebuild.",
    ),
    "backends": (
        "operate.backends:backends",
        "See the ComfyUI servers; take one out of service.",
    ),
    "simulator": ("operate.simulator:simulator", "Run a stand-in for a ComfyUI server."),
    "archive": (
        "stream.archive:archive",
        "Keep what Redis forgets; trim the log; ask it with SQL.",
    ),
    "consumers": ("stream.consumers:consumers", "See who consumes the stream, and steer them."),
    "sink": ("stream.sink:sink", "Bring jobs into a database, to a webhook, or into analytics."),
    "submit": ("jobs.submit:submit", "Submit a workflow in ComfyUI's API format."),
    "events": ("jobs.events:events", "Print the events of a job, or of all jobs."),
    "schema": ("stream.schema:schema", "Print the events' JSON Schema, or an AsyncAPI document."),
    "doctor": ("operate.doctor:doctor", "Say what is not as it should be, and what to change."),
    "config": ("config.config:config", "Show and check the config file, everfold.toml."),
    "--install-completion": (
        "completion:install_completion",
        "Install completion for your shell.",
    ),
}
for _name, (_place, _help) in COMMANDS.items():
    app.command(f"everfold.commands.{_place}", name=_name, help=_help)

jobs = App(name="jobs", help="List, show, watch, wait for and cancel jobs.")
for _name in ("ls", "show", "watch", "wait", "cancel", "give-up", "outputs"):
    jobs.command(f"everfold.commands.jobs.jobs:{_name.replace('-', '_')}", name=_name)
app.command(jobs)

audit = App(name="audit", help="Prove that what is stored is as it must be.")
audit.command("everfold.commands.stream.audit:verify", name="verify")
audit.command("everfold.commands.jobs.timeline:timeline", name="timeline")
audit.command("everfold.commands.stream.audit_show:show", name="show")
audit.command("everfold.commands.stream.audit_prove:prove", name="prove")
audit.command("everfold.commands.stream.audit_replay:replay", name="replay")
app.command(audit)


def read_config(named: str | None) -> None:
    """Let the config file set what flags and environment leave open: the named one, or the nearest.

    It is looked for and read when a command is run, not for help.
    """
    app.config = (ENVIRONMENT, ConfigFile(named))
