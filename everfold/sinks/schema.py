"""Creates the tables of the SQL sink, and adds the columns that older tables lack.

Rule: one transaction under a lock, because several processes may do this at once; tables of a
newer schema are not touched.
"""

from __future__ import annotations

from sqlalchemy import Connection, Table, inspect, select, text
from sqlalchemy.schema import CreateColumn

from everfold.sinks.tables import METADATA, SCHEMA, SCHEMA_VERSION
from everfold.streams.border.addresses import masked_address
from everfold.streams.errors import Misconfigured

_LOCK = 0x45564552
"""Number of the advisory lock that PostgreSQL holds during the transaction."""


def bring_up_to_date(connection: Connection) -> None:
    """Create missing tables and columns. Raises Misconfigured for tables of a newer Everfold."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    _refuse_newer(connection)
    known = set(inspect(connection).get_table_names())
    METADATA.create_all(connection)
    for table in METADATA.sorted_tables:
        if table.name in known:
            _add_columns(connection, table)
    connection.execute(SCHEMA.delete())
    connection.execute(SCHEMA.insert().values(version=SCHEMA_VERSION))


def _refuse_newer(connection: Connection) -> None:
    if SCHEMA.name not in inspect(connection).get_table_names():
        return
    found = connection.execute(select(SCHEMA.c.version)).scalar() or 0
    if found > SCHEMA_VERSION:
        place = masked_address(connection.engine.url.render_as_string())
        raise Misconfigured(
            f"the tables in {place} were made by a newer "
            f"Everfold (schema {found}, this one knows {SCHEMA_VERSION}); upgrade this one"
        )


def _add_columns(connection: Connection, table: Table) -> None:
    there = {column["name"] for column in inspect(connection).get_columns(table.name)}
    for column in table.columns:
        if column.name not in there:
            told = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {told}"))
