"""What `everfold doctor` says of the gateway's keys."""

from __future__ import annotations

from collections.abc import AsyncIterator

from everfold.diagnosis.finding import Finding
from everfold.streams.appending.log import Log
from everfold.web.access.key_store import list_keys


async def key_findings(log: Log) -> AsyncIterator[Finding]:
    """Say whether there is a key that counts. Raises a leaf of Unavailable."""
    if keys := await list_keys(log):
        good = sum(one.state == "good" for one in keys)
        advice = "the gateway answers nobody: `everfold keys add`, or `keys revoke --all`"
        yield Finding("gateway keys", f"{good} good of {len(keys)}", "" if good else advice)
