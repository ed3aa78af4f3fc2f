from __future__ import annotations

import time
import uuid
from itertools import pairwise

from everfold.streams.events.ids import job_id_for, new_id, uuid_time_ms


def test_a_new_id_is_a_version_7_uuid_of_the_rfc_variant() -> None:
    made = [new_id() for _ in range(500)]
    assert len(set(made)) == 500
    for text in made:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)


def test_ids_sort_as_text_by_the_time_of_their_making() -> None:
    before_ms = time.time_ns() // 1_000_000
    made: list[str] = []
    while len({uuid_time_ms(text) for text in made}) < 4:
        made.append(new_id())
    assert before_ms <= uuid_time_ms(made[0])
    assert uuid_time_ms(made[-1]) <= time.time_ns() // 1_000_000
    assert all(a < b for a, b in pairwise(made) if uuid_time_ms(a) < uuid_time_ms(b))
    assert all(uuid_time_ms(a) <= uuid_time_ms(b) for a, b in pairwise(made))


def test_an_idempotency_key_belongs_to_its_namespace_and_user() -> None:
    made = [
        job_id_for(*w) for w in (("a", "u", "k"), ("b", "u", "k"), ("a", "v", "k"), ("a", "u", "l"))
    ]
    assert job_id_for("a", "u", "k") == made[0]
    assert len(set(made)) == 4
