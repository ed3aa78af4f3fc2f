"""SVG elements as text; all words are escaped.

Rule: pure.
"""

from __future__ import annotations

from everfold.streams.border.text import for_markup


def tip(words: str) -> str:
    """Return the tooltip of the element around it; nothing for no words."""
    return f"<title>{for_markup(words)}</title>" if words else ""


def rect(
    x: float,
    y: float,
    width: float,
    height: float,
    color: str,
    kind: str = "",
    *,
    told: str = "",
    opacity: float = 1,
) -> str:
    """Return a rectangle with its upper left corner at x, y; `told` is its tooltip."""
    named = f' class="{kind}"' if kind else ""
    faint = f' opacity="{opacity}"' if opacity < 1 else ""
    return (
        f'<rect{named} x="{x:.2f}" y="{y:.3f}" width="{width:.2f}" height="{height:.3f}" '
        f'fill="{color}"{faint}>{tip(told)}</rect>'
    )


def text(
    x: float,
    y: float,
    words: str,
    kind: str = "",
    *,
    anchor: str = "",
    size: float = 0,
    color: str = "",
) -> str:
    """Return a text element; `y` is its base line."""
    named = f' class="{kind}"' if kind else ""
    placed = f' text-anchor="{anchor}"' if anchor else ""
    style = (f"font-size:{size:.1f}px;" if size else "") + (f"fill:{color}" if color else "")
    styled = f' style="{style}"' if style else ""
    return f'<text{named}{placed}{styled} x="{x:.1f}" y="{y:.1f}">{for_markup(words)}</text>'
