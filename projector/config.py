"""How long states live, and how projector processes share the partitions."""

from __future__ import annotations

from msgspec import Struct

from everfold.streams.errors import Misconfigured


class ProjectorConfig(Struct, frozen=True, kw_only=True):
    job_ttl_s: float = 7200.0
    """A state lives this long after its job's last event, while the job is open up to a hundredth
    longer; an open job's is folded again."""
    terminal_ttl_s: float | None = None
    """The same for a closed job; None: like `job_ttl_s`, 0: deleted on completion."""
    own_for_s: float = 5.0
    """How long a partition stays owned without a sign of life."""
    renew_every_s: float = 1.0
    cached_jobs: int = 20_000
    """States kept in memory per partition, so that folding on needs no read."""

    def __post_init__(self) -> None:
        if self.job_ttl_s <= 0 or (self.terminal_ttl_s or 0) < 0:
            raise Misconfigured("job_ttl_s must be above 0 and terminal_ttl_s not below it")

    @property
    def closed_ttl_ms(self) -> int:
        ttl_s = self.job_ttl_s if self.terminal_ttl_s is None else self.terminal_ttl_s
        return int(ttl_s * 1000)

    @property
    def open_step_ms(self) -> int:
        """By how much longer an open job's state may be kept: a hundredth, a minute at most."""
        return max(1, min(60_000, self.open_ttl_ms // 100))

    @property
    def open_ttl_ms(self) -> int:
        return int(self.job_ttl_s * 1000)
