"""The commands that a Lua script may send, read from its source."""

from __future__ import annotations

import re
from collections.abc import Collection


def script_commands(source: str, known: Collection[str]) -> set[str]:
    """Return the commands that a script may send or asks the right to, as its source has them.

    `known` are those of the server. A function that nothing calls does not count.
    """
    _, _, body = source.partition("]]\n")
    body = re.sub(r"--[^\n]*", "", body)
    functions = dict(re.findall(r"^local function (\w+)(.*?)^end$", body, re.M | re.S))
    text = re.sub(r"^local function .*?^end$", "", body, flags=re.M | re.S)
    while called := [name for name in functions if re.search(rf"\b{name}\b", text)]:
        text += "".join(functions.pop(name) for name in called)
    pairs = re.findall(r"'(XGROUP|XINFO)', '([A-Z]+)'", text)
    words = {word for words in re.findall(r"(?<!== )'([A-Z| ]+)'", text) for word in words.split()}
    words -= {word for pair in pairs for word in pair}
    names = {word.replace("|", " ") for word in words} & set(known)
    return names | {" ".join(pair) for pair in pairs}
