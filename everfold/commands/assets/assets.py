"""`everfold assets`: the stored files of a namespace, and those that nobody needs any more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from everfold.assets.saving import checked_bytes, is_saved, save_asset
from everfold.assets.sizes import size_text
from everfold.assets.store_of import open_assets
from everfold.commands.formats import ago, span
from everfold.commands.numbers import duration, number
from everfold.commands.options import AssetsPlace
from everfold.commands.output import Cell, complain, console, is_terminal
from everfold.commands.session import DEFAULT, Session
from everfold.moments import moment_text
from everfold.projector.reading.named_assets import is_named
from everfold.streams.assets.asset import INPUT_KEEP_S, Asset
from everfold.streams.assets.listing import list_assets
from everfold.streams.assets.sweeping import GRACE_S, Sweeper
from everfold.streams.assets.verifying import verify_assets
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import Misconfigured

AssetId = Annotated[str, Parameter(help="The asset's id, as `assets ls` shows it.")]
Owner = Annotated[str | None, Parameter(name="--user", help="Only assets of this user.")]
Keep = Annotated[
    float | None,
    duration("keep_s", "How long it is kept; `none` keeps it for ever."),
]

WIDE = 110
"""Columns of a terminal in which a list shows types and users, too."""

assets = App(
    name="assets", help="List, show, get, put and remove stored files; sweep and verify the store."
)


@assets.command
async def ls(
    *,
    user: Owner = None,
    limit: Annotated[int, number("limit", "The most assets to list.")] = 50,
    cursor: str | None = None,
    assets: AssetsPlace = None,
    session: Session = DEFAULT,
) -> int:
    """List the stored files, the newest first.

    Parameters
    ----------
    cursor
        The cursor that the page before ended with, for the next page.
    """
    async with session.open("reader") as everfold:
        page = await list_assets(
            open_assets(everfold.log, assets), user, limit=limit, cursor=cursor
        )
    session.show(page.assets, _columns(), empty="no assets", wrap=("name",))
    if page.cursor:
        session.tell_more(f"--cursor {page.cursor}")
    return 0


def _columns() -> Mapping[str, Callable[[Asset], Cell]]:
    """Return the columns that the terminal has room for."""
    columns: dict[str, Callable[[Asset], Cell]] = {
        "asset": lambda one: one.id,
        "size": lambda one: size_text(one.size_bytes),
        "type": lambda one: one.media_type,
        "user": lambda one: one.owner or "-",
        "age": lambda one: ago(one.created_ms),
        "name": lambda one: one.name,
    }
    if is_terminal() and console().width < WIDE:
        del columns["type"], columns["user"]
    return columns


@assets.command
async def show(asset: AssetId, *, assets: AssetsPlace = None, session: Session = DEFAULT) -> int:
    """Show all that is known of one stored file."""
    async with session.open("reader") as everfold:
        store = open_assets(everfold.log, assets)
        found = await store.get(asset)
        is_there = await store.blobs.find(found.hash) is not None
    session.tell({**msgspec.to_builtins(found), "is_there": is_there}, *_lines(found))
    if not is_there:
        complain(f"its bytes are not in {store.url}: removed, or stored elsewhere")
    return 0 if is_there else 1


def _lines(asset: Asset) -> list[str]:
    rows = {
        "name": asset.name,
        "hash": asset.hash,
        "size": f"{size_text(asset.size_bytes)}  ({asset.size_bytes:,} bytes)",
        "type": asset.media_type,
        "pixels": f"{asset.width} x {asset.height}" if asset.width else "",
        "user": asset.owner,
        "job": asset.job_id,
        "stored": moment_text(asset.created_ms),
        "kept until": moment_text(asset.expires_ms) if asset.expires_ms else "for ever",
    }
    return [f"{name:<10}  {value}" for name, value in rows.items() if value]


@assets.command
async def get(
    asset: AssetId,
    *,
    to: Annotated[
        Path | None,
        Parameter(
            help="The file, or an existing folder. One with other bytes is never written over. "
            "Default: standard output."
        ),
    ] = None,
    assets: AssetsPlace = None,
    session: Session = DEFAULT,
) -> int:
    """Write a stored file, whose bytes are checked on the way."""
    async with session.open("reader") as everfold:
        store = open_assets(everfold.log, assets)
        found = await store.get(asset)
        if to is None:
            if is_terminal() and not found.media_type.startswith("text/"):
                raise Misconfigured(
                    f"{found.media_type} is not written to a terminal: give --to FILE, or a pipe"
                )
            async for chunk in checked_bytes(store, found.hash):
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return 0
        path = to / found.name if to.is_dir() else to
        is_there = await is_saved(path, found.hash)
        if not is_there and not await save_asset(store, found.hash, path, overwrite=False):
            raise Misconfigured(f"{path} is there with other bytes, and stays as it is")
    told = {"asset": found.id, "path": str(path), "size_bytes": found.size_bytes}
    session.tell(told, f"{path}  {size_text(found.size_bytes)}")
    return 0


@assets.command
async def put(
    file: Path,
    *,
    user: Annotated[str, Parameter(help="Whose it is, and whose quota it counts for.")] = "",
    name: Annotated[str, Parameter(help="Its name. Default: that of the file.")] = "",
    keep: Keep = INPUT_KEEP_S,
    assets: AssetsPlace = None,
    session: Session = DEFAULT,
) -> int:
    """Store a file; print what a job's input names it by.

    Parameters
    ----------
    file
        The path of the file.
    """
    async with session.open("client") as everfold:
        store = open_assets(everfold.log, assets)
        stored = await store.put(file, name=name or file.name, owner=user, keep_s=keep)
    one = stored.asset
    kept = "for ever" if keep is None else span(keep)
    told = {**msgspec.to_builtins(one), "created": stored.created}
    size = size_text(one.size_bytes)
    session.tell(told, f"everfold:{one.id}  {size}  {one.media_type}  kept {kept}")
    return 0


@assets.command
async def rm(
    asset: AssetId, /, *more: AssetId, assets: AssetsPlace = None, session: Session = DEFAULT
) -> int:
    """Remove stored files. Their bytes go with the next sweep, unless another asset has them.

    The exit code is 3 when there was no such file.
    """
    code = 0
    async with session.operate() as everfold:
        store = open_assets(everfold.log, assets)
        for one in (asset, *more):
            was_there = await store.remove(one)
            code = code if was_there else 3
            session.tell(
                {"asset": one, "was_there": was_there},
                f"{one}: {'removed' if was_there else 'there is no such asset'}",
            )
    return code


@assets.command
async def gc(
    *,
    grace: Annotated[
        float, duration("grace_s", "What is younger stays: a job may be about to name it.")
    ] = GRACE_S,
    dry_run: Annotated[bool, Parameter(help="Only count what would be removed.")] = False,
    assets: AssetsPlace = None,
    session: Session = DEFAULT,
) -> int:
    """Remove what nobody needs: expired files, outputs that no job names, bytes without a file.

    `up` and `runner` do this by themselves every hour.
    """
    async with session.operate() as everfold:
        store = open_assets(everfold.log, assets)

        named = partial(is_named, everfold.log)
        swept = await Sweeper(store, named, grace_s=grace, dry=dry_run).sweep()
    would = "would remove" if dry_run else "removed"
    session.tell(
        {**msgspec.to_builtins(swept), "is_dry_run": dry_run},
        f"{would} {swept.expired} expired, {swept.unnamed} that no job names, and the bytes of "
        f"{swept.blobs} ({size_text(swept.size_bytes)})",
    )
    return 0


@assets.command
async def verify(
    *,
    quick: Annotated[bool, Parameter(help="Compare sizes only; read no bytes.")] = False,
    assets: AssetsPlace = None,
    session: Session = DEFAULT,
) -> int:
    """Compare all stored bytes with what is known; exit code 1 if something differs."""
    count = 0
    async with session.open("reader") as everfold:
        store = open_assets(everfold.log, assets)
        async for problem in verify_assets(store, read_bytes=not quick):
            count += 1
            session.tell(problem, f"{problem.what}: {problem.sentence}")
    session.tell(
        {"problems": count},
        f"{quantity(count, 'problem')} in {store.url}" if count else "all as it should be",
    )
    return 1 if count else 0
