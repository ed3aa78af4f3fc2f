"""Who held a job and where it ran, as an SVG picture for a page.

Rule: pure. Colors are the page's; what a bar means is also said in its tooltip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from everfold.durations import duration_text
from everfold.job_story.lanes import Lease, Stretch
from everfold.streams.border.text import for_markup

WIDTH, LEFT, LANE, FOOT = 1000, 220, 26, 22
LEAST = 2.0
"""Width of the shortest bar."""
LANES_LIMIT = 100
NAME_LIMIT = 32


def gantt(
    stretches: Sequence[Stretch],
    leases: Sequence[Lease],
    end_ms: int,
    titles: Mapping[str, str],
) -> str:
    """Return the picture; empty for a job that nobody knows anything of. `titles` is what people
    call the servers, by address."""
    if not stretches:
        return ""
    lanes = _lanes(stretches)
    from_ms = stretches[0].from_ms
    scale = (WIDTH - LEFT) / max(1, end_ms - from_ms)
    height = LANE * len(lanes) + FOOT

    def at(time_ms: int) -> float:
        return LEFT + (min(time_ms, end_ms) - from_ms) * scale

    def drawn() -> Iterator[str]:
        yield f'<svg class="gantt" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Lanes">'
        for place, (name, bars) in enumerate(lanes.items()):
            y = place * LANE
            named = titles.get(name, name)
            shown = named if len(named) <= NAME_LIMIT else f"{named[: NAME_LIMIT - 1]}…"
            yield f'<text x="0" y="{y + 17}">{for_markup(shown)}</text>'
            yield f'<rect class="track" x="{LEFT}" y="{y + 3}" width="{WIDTH - LEFT}" height="20"/>'
            for one in bars:
                told = _told(one, end_ms, titles)
                yield _bar(one, told, at(one.from_ms), at(one.until_ms or end_ms), y + 3)
            for lease in (lease for lease in leases if lease.taken_from == name):
                told = f"from here on {name} is refused: {lease.owner} has the job"
                yield (
                    f'<path class="fenced" d="M{at(lease.from_ms):.1f} {y}v{LANE}">'
                    f"<title>{for_markup(told)}</title></path>"
                )
        took = duration_text(max(0, end_ms - from_ms) / 1000)
        yield f'<text x="{LEFT}" y="{height - 5}">0 s</text>'
        yield f'<text x="{WIDTH}" y="{height - 5}" text-anchor="end">{for_markup(took)}</text>'
        yield "</svg>"

    return "".join(drawn())


def _bar(one: Stretch, told: str, left: float, right: float, y: int) -> str:
    return (
        f'<rect class="{one.state}" x="{left:.1f}" y="{y}" height="20" '
        f'width="{max(LEAST, right - left):.1f}"><title>{for_markup(told)}</title></rect>'
    )


def _lanes(stretches: Sequence[Stretch]) -> dict[str, list[Stretch]]:
    found: dict[str, list[Stretch]] = {}
    for one in stretches:
        for name in (one.owner or "nobody", one.backend):
            if name and (name in found or len(found) < LANES_LIMIT):
                found.setdefault(name, []).append(one)
    return found


def _told(one: Stretch, end_ms: int, titles: Mapping[str, str]) -> str:
    seconds = max(0, (one.until_ms or end_ms) - one.from_ms) / 1000
    attempt = f", attempt {one.attempt}" if one.attempt else ""
    where = f", at {titles.get(one.backend, one.backend)}" if one.backend else ""
    return f"{one.state}{attempt}{where}: {duration_text(seconds)}"
