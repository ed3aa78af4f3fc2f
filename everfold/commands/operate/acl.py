"""`everfold acl`: the least rights of each kind of process, as a command for the server."""

from __future__ import annotations

from everfold.commands.session import DEFAULT, Session
from everfold.streams.redis.access import Access, Role


async def acl(role: Role, /, *, session: Session = DEFAULT) -> None:
    """Print the least rights that a role needs on the server, as ACL SETUSER.

    Replace PASSWORD and send the line with redis-cli. An administrator makes the namespace with
    the first command, such as `everfold doctor`; `rebuild`, `import`, `reset` and `trim` are his.

    Parameters
    ----------
    role
        What the user is for.
    """
    access = Access(role, session.namespace)
    session.tell({"role": role, "rules": access.rules()}, access.line())
