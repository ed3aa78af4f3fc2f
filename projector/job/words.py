"""The words that fields of a job may have, for type checkers and for programs that list them.

Rule: pure. A newer version may store other words: what is read is never refused for that.
"""

from __future__ import annotations

from typing import Literal

Status = Literal["queued", "running", "canceling", "succeeded", "failed", "canceled", "expired"]
"""How a job is; the last four are its ends."""

Priority = Literal["high", "normal", "low"]
"""Which of a queue's jobs go first."""

AttemptState = Literal["", "intended", "accepted", "over"]
"""How the newest attempt is: none yet, its POST not confirmed, accepted by the backend, or over."""
