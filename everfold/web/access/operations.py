"""The rows of the login of browsers."""

from __future__ import annotations

from everfold.web.access.login import get_login, post_login, post_logout
from everfold.web.operation import Operation

FORM = "application/x-www-form-urlencoded"

ACCESS: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/login", answer=get_login, name="login_form", role="reader",
        is_public=True, answers={200: "text/html"},
        summary="Show a form that takes a key.",
    ),
    Operation(
        method="POST", path="/login", answer=post_login, name="login", role="reader",
        is_public=True, body=FORM, answers={303: None, 401: "text/html"},
        summary="Log a browser in with a key.",
    ),
    Operation(
        method="POST", path="/logout", answer=post_logout, name="logout", role="reader",
        is_public=True, answers={303: None},
        summary="Log a browser out.",
    ),
)  # fmt: skip
