"""What a client of a spread namespace keeps for the order and the limits that span partitions."""

from __future__ import annotations

from everfold.streams.layout.places import Places
from everfold.streams.layout.reservations import Reservations
from everfold.streams.redis.each import Partitioned


class Spread:
    """The places and reservations of one client. Nothing is asked before one is needed."""

    def __init__(self, log: Partitioned) -> None:
        self.places = Places(log)
        self.reservations = Reservations(log)
