"""`everfold projector` and what stands below it; loaded only when it is used."""

from __future__ import annotations

from cyclopts import App

from everfold.commands.operate.parked import ls, retry, skip
from everfold.commands.operate.projector import rebuild, run, show, status

HELP = "Run a projector, which folds the log into current states; or see to one."

projector = App(name="projector", help=HELP)
projector.default(run)
projector.command(status)
projector.command(rebuild)
projector.command(show)

parked = App(name="parked", help="Jobs that cannot be folded any more: list, retry, skip.")
for _command in (ls, retry, skip):
    parked.command(_command)
projector.command(parked)
