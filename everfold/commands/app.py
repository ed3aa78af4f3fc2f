"""The command line as a whole: which commands there are, loaded only when they are used."""

from __future__ import annotations

from cyclopts import App
from cyclopts.config import Env

from everfold import __version__

HELP = """Keeps ComfyUI jobs alive: every change in a log, carried on when a runner dies.

Exit codes: 0 done; 1 the job or the check failed; 2 wrong use, input or settings; 3 no such job;
4 the server cannot be reached; 130 interrupted. `--json` prints one JSON object per line.

Environment: REDIS_URL or REDIS_HOST and REDIS_PORT (else the embedded server), COMFYUI_URL
(comma-separated), EVERFOLD_NAMESPACE, EVERFOLD_DATA, EVERFOLD_<COMMAND>_<OPTION> for any option.
"""

app = App(name="everfold", help=HELP, version=__version__, config=Env("EVERFOLD_"))
app.register_install_completion_command()

app.command("everfold.commands.demo:demo", name="demo")
app.command("everfold.commands.work:up", name="up")
app.command("everfold.commands.work:runner", name="runner")
app.command("everfold.commands.work:projector", name="projector")
app.command("everfold.commands.simulator:simulator", name="simulator")
app.command("everfold.commands.submit:submit", name="submit")
app.command("everfold.commands.events:events", name="events")
app.command("everfold.commands.doctor:doctor", name="doctor")

jobs = App(name="jobs", help="List, show, watch, wait for and cancel jobs.")
for _name in ("ls", "show", "watch", "wait", "cancel", "outputs"):
    jobs.command(f"everfold.commands.jobs:{_name}", name=_name)
app.command(jobs)

audit = App(name="audit", help="Prove that what is stored is as it must be.")
audit.command("everfold.commands.audit:verify", name="verify")
app.command(audit)
