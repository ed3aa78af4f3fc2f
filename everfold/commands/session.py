"""What every command shares: which server, which namespace, and whether a program is reading."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from everfold.client import Everfold

ConfigOption = Annotated[Path | None, Parameter(env_var="EVERFOLD_CONFIG")]
"""Taken from the command line before anything else; a command sees the file that is in use."""


@Parameter(name="*")
@dataclass(frozen=True)
class Session:
    """Options that all commands understand."""

    namespace: Annotated[str, Parameter(env_var="EVERFOLD_NAMESPACE")] = "everfold"
    """Jobs of other namespaces are not seen."""
    redis_url: Annotated[str | None, Parameter(env_var="REDIS_URL")] = None
    """redis://, rediss:// or unix://; else REDIS_HOST, else the embedded server."""
    json: Annotated[bool, Parameter(negative="")] = False
    """Print JSON, one object per line, for programs."""
    config: ConfigOption = None
    """The config file; else the nearest everfold.toml."""

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Everfold]:
        async with Everfold.connect(
            self.redis_url, namespace=self.namespace, actor="cli"
        ) as everfold:
            yield everfold


DEFAULT = Session()
