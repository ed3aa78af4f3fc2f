"""What `everfold doctor` says of the places where runners store files."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import AsyncIterator

from everfold.assets.store_of import open_assets
from everfold.diagnosis.finding import Finding
from everfold.streams.appending.log import Log
from everfold.streams.border.addresses import masked_text
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import EverfoldError
from everfold.streams.leases.registry import place_on, registered_runners


async def asset_findings(log: Log) -> AsyncIterator[Finding]:
    """Yield where each runner stores files, whether it can, and whether that place is read from
    here, too."""
    places, troubles = defaultdict[str, list[str]](list), dict[str, str]()
    for entry in (await registered_runners(log)).values():
        if entry.assets:
            place = place_on(entry.assets, entry.host)
            places[place].append(entry.runner)
            if entry.assets_trouble:
                troubles[place] = f"{entry.runner} cannot write there: {entry.assets_trouble}"
    if not places:
        return
    here = _here(log)
    for place, runners in sorted(places.items()):
        found = f"{masked_text(place)}, of {quantity(len(runners), 'runner')}"
        if trouble := troubles.get(place):
            advice = "let its user write there, or make room: until then jobs wait at their end"
            yield Finding("assets", f"{found}; {masked_text(trouble)}", advice)
            continue
        if len(places) > 1:
            advice = "let all runners use one place: a shared folder, or s3://bucket/prefix"
        elif place != here:
            advice = f"commands on this machine read {masked_text(here)}: set EVERFOLD_ASSETS"
        else:
            advice = ""
        yield Finding("assets", found, advice)


def _here(log: Log) -> str:
    try:
        return place_on(open_assets(log).url, socket.gethostname())
    except EverfoldError as error:
        return str(error)
