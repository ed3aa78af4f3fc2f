"""Parameters of paths that hold any text: `{name:text}`, with slashes and with ends of lines.

Rule: whatever a client puts into a path reaches the route that stands for it; the route refuses it.
"""

from __future__ import annotations

from starlette.convertors import PathConvertor, register_url_convertor


class AnyText(PathConvertor):
    """As Starlette's `path`, which fits no text that holds the end of a line."""

    regex = "(?s:.*)"


register_url_convertor("text", AnyText())
