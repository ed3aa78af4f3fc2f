"""What all errors have in common."""

from __future__ import annotations


class EverfoldError(Exception):
    """Anything that Everfold raises on purpose."""
