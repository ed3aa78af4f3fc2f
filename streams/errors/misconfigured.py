"""A person must change a setting."""

from __future__ import annotations

from everfold.streams.border.values import instead, shown
from everfold.streams.errors.base import EverfoldError


class Misconfigured(EverfoldError):
    """A person must change a setting before this can work."""


class ServerTooOld(Misconfigured):
    """The server lacks a command that Everfold needs."""

    def __init__(self, server: str, missing: str) -> None:
        advice = "use Redis 7.0 or newer, or Valkey 8 or newer"
        super().__init__(f"{server} is too old for Everfold ({missing}); {advice}")
        self.server, self.missing = server, missing


class ServerRefusesAccess(Misconfigured):
    """Wrong password, user or permissions, or a command that the server does not offer."""


class AccessMissing(Misconfigured):
    """The server's user lacks rights that this kind of process needs; nothing was done."""

    def __init__(self, role: str, missing: list[str]) -> None:
        lacks = f"the Redis user may not do what a {role} needs: {', '.join(missing)}"
        super().__init__(f"{lacks}. Nothing was done; `everfold acl {role}` prints the rights")
        self.role, self.missing = role, missing


class ServerNotTrusted(Misconfigured):
    """The server's certificate cannot be trusted; nothing was sent."""


class ServerInCluster(Misconfigured):
    """The server is a cluster, and what it was asked is only possible on one server."""


class PartitionMismatch(Misconfigured):
    """The namespace was made with another number of partitions."""

    def __init__(self, namespace: str, asked: int, actual: int) -> None:
        made = f"namespace {namespace!r} was made with {actual} partitions, not {asked}"
        super().__init__(f"{made}; leave the number out, or choose another namespace")
        self.namespace, self.asked, self.actual = namespace, asked, actual


class NamespaceUnknown(Misconfigured):
    """There is no such namespace on the server, and what only reads makes none."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        there = f"there are {', '.join(known)}" if known else "it has none that can be seen"
        near = instead(name, known)
        asked = f"; {near}" if near.startswith("did you mean") else "."
        super().__init__(
            f"there is no namespace {shown(name)} on the server: {there}{asked} What submits or "
            "runs jobs, such as `everfold up`, makes it"
        )
        self.name, self.known = name, known


class NamespaceTooNew(Misconfigured):
    """The namespace was written by a newer Everfold."""

    def __init__(self, namespace: str, actual: int, known: int, what: str = "has schema") -> None:
        newer = f"namespace {namespace!r} {what} {actual}"
        super().__init__(f"{newer}, this Everfold knows up to {known}; upgrade Everfold")
        self.namespace, self.actual, self.known = namespace, actual, known


class NamespaceMadeAnew(Misconfigured):
    """The server lost the namespace, and another program made it anew before this one could."""


class RunnerNameTaken(Misconfigured):
    """Another runner that lives has the same name: they would share their leases."""

    def __init__(self, name: str, host: str, pid: int) -> None:
        other = f"runner {name!r} works already, on host {host!r} as process {pid}"
        super().__init__(f"{other}; give each process start a name of its own (`runner_name()`)")
        self.name, self.host, self.pid = name, host, pid


class ArchiveForeign(Misconfigured):
    """The archive holds another namespace, or this one from before it was made anew."""

    def __init__(self, url: str, namespace: str) -> None:
        super().__init__(f"the archive {url} holds another log ({namespace!r}); use another folder")
        self.url, self.namespace = url, namespace


class NoServer(Misconfigured):
    """No Redis or Valkey server was named, found or startable."""


class ServerUrlInvalid(Misconfigured):
    """The URL of the Redis or Valkey server has none of the forms that there are."""


class EngineMismatch(Misconfigured):
    """The data folder was written by a server whose files the servers found here cannot read."""

    def __init__(self, folder: str, recorded: str, found: str) -> None:
        other = f"the data in {folder} was written by {recorded}, whose files no other engine reads"
        advice = "install it again, name one with REDIS_URL, or choose another EVERFOLD_DATA"
        super().__init__(f"{other}; found here: {found or 'none'}; {advice}")
        self.folder, self.recorded, self.found = folder, recorded, found


class BackendUrlInvalid(Misconfigured):
    """The URL of a backend cannot be used."""

    def __init__(self, url: str, why: str) -> None:
        advice = "write it like http://127.0.0.1:8188"
        super().__init__(f"{url!r} is not the URL of a ComfyUI server: {why}; {advice}")
        self.url, self.why = url, why


class NamespaceTooOld(Misconfigured):
    """The namespace was made by an older Everfold, whose waiting jobs stand elsewhere."""

    def __init__(self, namespace: str, actual: int, known: int) -> None:
        older = f"namespace {namespace!r} has schema {actual}, this Everfold works on {known}"
        super().__init__(
            f"{older}; with the older version run `everfold archive export FILE`, with this one "
            "`everfold archive import FILE --namespace NEW`"
        )
        self.namespace, self.actual, self.known = namespace, actual, known


class SealKeyMissing(Misconfigured):
    """What is to be read was sealed, and this process has not the key that opens it."""

    def __init__(self, key: str = "") -> None:
        """`key` is the beginning of the digest by which the missing key is named, if known."""
        which = f"the key {key}, which" if key else "a key that"
        super().__init__(
            f"this was sealed with {which} is not given here: set EVERFOLD_SEAL_KEY, with older "
            "keys behind the newest one"
        )
        self.key = key


class ClocksApart(Misconfigured):
    """The clocks of the server and of this machine differ by too much to tell what is old."""

    def __init__(self, apart_s: float) -> None:
        differ = f"the clocks of the server and of this machine differ by {apart_s:,.0f} s"
        super().__init__(f"{differ}: nothing was removed; set the wrong one")
        self.apart_s = apart_s
