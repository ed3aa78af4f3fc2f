"""What belongs to one call: neither a config file nor the environment sets it for all others."""

from __future__ import annotations

from cyclopts import Argument

PER_CALL = {
    *("json", "config", "cursor", "idempotency_key", "into_live", "extra_data", "yes"),
    "traceparent",
}
"""Options that mean one call; in a file they would change all others too."""

FROM_ENVIRONMENT = {"json", "config", "traceparent"}
"""Those of them that a variable may set, which a person sets for one session."""


def is_per_call(argument: Argument) -> bool:
    """Say whether it is a positional argument, or an option that means one call."""
    return argument.index is not None or _key(argument) in PER_CALL


def may_come_from_environment(argument: Argument) -> bool:
    """Say whether a variable may set it: one that was left in a shell must not choose a job."""
    return not is_per_call(argument) or _key(argument) in FROM_ENVIRONMENT


def _key(argument: Argument) -> str:
    return argument.name.lstrip("-").replace("-", "_").lower()
