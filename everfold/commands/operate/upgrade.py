"""`everfold upgrade`: which processes read which events, and what new programs may write."""

from __future__ import annotations

from msgspec import Struct

from everfold.commands.output import emit, say
from everfold.commands.session import DEFAULT, Session
from everfold.streams.leases.levels import LogReader, UpgradeStatus, raise_levels, upgrade_status


class Shown(Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    writes: int
    min_reader: int
    known: int
    readers: tuple[LogReader, ...]
    too_old: tuple[str, ...]


async def upgrade(*, commit: bool = False, session: Session = DEFAULT) -> int:
    """Show which event versions every process can read, and let programs write the newest.

    The exit code is 1 when a process is too old to read them: upgrade it, or stop it.

    Parameters
    ----------
    commit
        Raise the namespace's levels to what this Everfold knows, if every process can read it.
    """
    async with session.log() as log:
        status = await (raise_levels(log) if commit else upgrade_status(log))
    if session.json:
        emit(_shown(status))
    else:
        _show(status, session)
    return 1 if status.too_old and not status.is_done else 0


def _shown(status: UpgradeStatus) -> Shown:
    return Shown(
        writes=status.levels.writes,
        min_reader=status.levels.min_reader,
        known=status.known,
        readers=status.readers,
        too_old=tuple(reader.name for reader in status.too_old),
    )


def _show(status: UpgradeStatus, session: Session) -> None:
    session.show(
        status.readers,
        {
            "process": lambda one: one.name,
            "kind": lambda one: one.kind,
            "host": lambda one: one.host,
            "version": lambda one: one.version or "?",
            "reads level": lambda one: one.reader_level,
        },
        empty="no process is registered",
    )
    levels = status.levels
    say(f"programs write level {levels.writes} and must read level {levels.min_reader}")
    if status.is_done:
        say(f"nothing is left to raise: this Everfold knows level {status.known}")
    elif status.too_old:
        names = ", ".join(reader.name for reader in status.too_old)
        say(f"level {status.known} must wait: {names} cannot read it; upgrade or stop it first")
    else:
        say(f"every process reads level {status.known}: `everfold upgrade --commit` raises both")
