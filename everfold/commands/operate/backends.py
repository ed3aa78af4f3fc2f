"""`everfold backends`: the ComfyUI servers that the runners see, and taking them out of service."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from everfold.commands.formats import span
from everfold.commands.session import DEFAULT, Session
from everfold.operations import BackendStatus

NOW_S = 10.0
"""A backend that was seen within this time is shown as seen now."""

BY_OPERATOR = "an operator "
"""How a runner says that somebody took it out of service."""

BackendName = Annotated[str, Parameter(help="The backend's name, as `backends ls` shows it.")]

backends = App(name="backends", help="List the ComfyUI servers; take one out of service.")


@backends.command
async def ls(*, session: Session = DEFAULT) -> int:
    """List the backends that a runner has seen in the last 7 days."""
    async with session.open() as everfold:
        found = await everfold.backends()
    is_called = any(one.title for one in found)
    name = {"backend": lambda one: one.title or "-"} if is_called else {}
    session.show(
        found,
        {
            **name,
            "address" if is_called else "backend": lambda one: one.name,
            "seen": lambda one: "now" if one.unseen_s < NOW_S else f"{span(one.unseen_s)} ago",
            "busy": lambda one: f"{one.busy}/{one.slots}" if one.slots else "-",
            "service": _service,
        },
        empty="no runner has seen a backend yet",
    )
    return 0


def _service(one: BackendStatus) -> str:
    """Return whether it takes jobs, or who took it out of service and why else it takes none."""
    acts = [f"retired by {one.retired_by}"] if one.retired_by else []
    acts += [f"drained by {one.drained_by}"] if one.drained_by and not acts else []
    if one.why and not (acts and one.why.startswith(BY_OPERATOR)):
        acts.append(one.why)
    return ", ".join(acts) or "takes jobs"


@backends.command
async def drain(name: BackendName, *, session: Session = DEFAULT) -> int:
    """Let a backend take no new jobs; what runs or waits there goes on.

    `backends retire` takes back what waits there, too.
    """
    async with session.operate() as everfold:
        await everfold.drain_backend(name)
    sentence = f"{name} takes no new jobs; `everfold backends return {name}` undoes that"
    session.tell({"backend": name, "is_drained": True}, sentence)
    return 0


@backends.command
async def retire(name: BackendName, *, session: Session = DEFAULT) -> int:
    """Take a backend out of service.

    It gets no new jobs, and the jobs that wait there are taken back. Jobs that it holds while no
    runner reaches it are lost at once, and tried elsewhere if their policy allows.
    """
    async with session.operate() as everfold:
        await everfold.retire_backend(name)
    sentence = f"{name} is retired; `everfold backends return {name}` undoes that"
    session.tell({"backend": name, "is_retired": True}, sentence)
    return 0


@backends.command(name="return")
async def return_(name: BackendName, *, session: Session = DEFAULT) -> int:
    """Put a retired or drained backend into service again."""
    async with session.operate() as everfold:
        was_retired = await everfold.return_backend(name)
    sentence = f"{name} {'is in service again' if was_retired else 'was not retired'}"
    session.tell({"backend": name, "is_retired": False, "was_retired": was_retired}, sentence)
    return 0
