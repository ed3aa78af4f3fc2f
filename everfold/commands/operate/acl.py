"""`everfold acl`: the least rights of each kind of process, as a command for the server."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from everfold.commands.session import DEFAULT, Session
from everfold.streams.events.checks import check_name
from everfold.streams.redis.access import Access, Role


async def acl(
    role: Role,
    /,
    *,
    aclfile: Annotated[
        bool, Parameter(help="Print it as a line of Redis' aclfile, which has one for each user.")
    ] = False,
    cluster: Annotated[
        bool, Parameter(help="For a namespace on Redis Cluster, whose keys are laid out otherwise.")
    ] = False,
    session: Session = DEFAULT,
) -> None:
    """Print the least rights that a role needs on the server, as ACL SETUSER.

    Replace PASSWORD and send the line with redis-cli. A client submits and cancels; an operator
    also makes keys, sets limits and takes servers out of service. `archive import`, `subscriptions
    reset` and `rm`, and `upgrade` take a user with all rights on the namespace.

    Parameters
    ----------
    role
        What the user is for.
    """
    access = Access(role, check_name("namespace", session.namespace), cluster)
    line = access.file_line() if aclfile else access.line()
    session.tell({"role": role, "rules": access.rules()}, line)
