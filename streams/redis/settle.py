"""Telling one who waits what came of it. Rule: who was cancelled, or knows already, is let be."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


def settle(waiting: asyncio.Future[T], outcome: T | Exception) -> None:
    if waiting.done():
        return
    if isinstance(outcome, Exception):
        waiting.set_exception(outcome)
    else:
        waiting.set_result(outcome)
