"""Who calls: the user of the key that came with a request, and what that key may do.

Rule: pure. Every query is scoped by `Caller.scope`, and a job of somebody else does not exist.
"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

from everfold.streams.events.limits import NAME_LIMIT

Role = Literal["reader", "user", "operator"]
"""A reader looks, a user also runs and stops jobs, an operator also changes the farm."""

_UNNAMEABLE = re.compile(r"[^A-Za-z0-9._-]")

RANKS: dict[Role, int] = {"reader": 0, "user": 1, "operator": 2}


class Caller(Struct, frozen=True, kw_only=True):
    """The user on whose behalf a request is answered."""

    role: Role
    user: str = ""
    """Owner of the jobs and files that it makes."""
    key_id: str = ""
    """The key that it showed, empty without keys."""
    sees_all: bool = False
    """Whether it sees what belongs to others, too."""

    @property
    def scope(self) -> str | None:
        """The user by which its queries are filtered; None for all users."""
        return None if self.sees_all else self.user

    @property
    def actor(self) -> str:
        """The name under which its acts are recorded; an application may name keys as it likes."""
        return _UNNAMEABLE.sub("-", f"key-{self.key_id}")[:NAME_LIMIT] if self.key_id else "gateway"

    def may(self, role: Role) -> bool:
        """Say whether it may do what this role may do."""
        return RANKS[self.role] >= RANKS[role]

    def sees(self, user: str) -> bool:
        """Say whether it may know of something that belongs to this user."""
        return self.sees_all or user == self.user


EVERYBODY = Caller(role="operator", sees_all=True)
"""Who calls while the namespace has no keys: then only the own machine is served."""

NOBODY = Caller(role="reader")
"""Who looks at a public page without a key: nothing else is for it."""
