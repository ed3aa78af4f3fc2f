"""What the adapter must make of every recorded session: one row per recorded prompt."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """What the adapter must make of one recorded prompt."""

    prompt: str
    """The first eight characters of its id."""
    submits: str
    """One word per POST. Everfold never POSTs an attempt twice, but some recordings do."""
    truths: str
    """Each answer of `truth` that differed from the one before, in order."""
    progress: tuple[float, int, int, str | None] | None = None
    """The last progress: value, nodes done, nodes that run, class of the current node."""
    saved: str = ""
    """The nodes whose outputs were seen on the websocket."""


FAST = (0.99, 4, 4, "SaveImage")
SLOW = (0.99, 7, 7, "SaveImage")

TABLE: dict[str, list[Row]] = {
    # The server dies of a node's output that is not JSON: the job died with that boot.
    "bad-ui-with-client": [
        Row("d0af8bf2", "accepted", "unreachable > absent, restarted", (0.5, 1, 2, "JTBadUI"))
    ],
    # The same without a socket: history answers 500 until the entry is deleted.
    "bad-ui-without-client": [
        Row(
            "390da448",
            "accepted",
            "pending 0 > failed, unreadable_outputs > absent, same boot",
        )
    ],
    # The recorder's socket broke at 1 MiB; the adapter reads all of it.
    "big-message": [Row("8a3e3780", "accepted", "succeeded", (0.99, 2, 2, "JTBigUI"), "2")],
    "cached": [
        Row("44ca1105", "accepted", "succeeded", (0.99, 3, 3, "SaveImage"), "3"),
        Row("c9f0fa91", "accepted", "succeeded, reused", (0.99, 0, 0, None), "3"),
        Row("2768e0e1", "accepted", "succeeded", FAST, "4"),
        # Another graph came between: executed again, so nothing was reused.
        Row("2b4b5987", "accepted", "succeeded", (0.99, 3, 3, "SaveImage"), "3"),
    ],
    "deleted-from-queue": [
        Row("a42607b8", "accepted", "running > succeeded", SLOW, "6 7"),
        Row("ee1012a6", "accepted", "pending 0 > absent, same boot"),
        Row("b9bb2629", "accepted", "pending 1 > pending 0 > succeeded", FAST, "4"),
    ],
    # A 500 that hid an accepted prompt: ambiguous, and truth finds it.
    "duplicate-number-500": [
        Row("f9c449b9", "accepted", "running > succeeded", SLOW, "6 7"),
        Row("85e29ecb", "accepted > ambiguous", "pending 0 > succeeded", FAST, "4"),
    ],
    # One id three times: the queue wins over the history of the run before.
    "duplicate-prompt-id-submit": [
        Row(
            "a0ab465c",
            "accepted > accepted > accepted",
            "running > pending 0 > succeeded",
            # Its plan is the first graph, in which the nodes of the others mean nothing.
            (0.99, 3, 3, "JTSleepProgress"),
            "3 4 6 7",
        ),
        Row("c5eca8cf", "accepted", "running > succeeded", SLOW, "6 7"),
        Row("455325b8", "accepted > accepted", "pending 0 > succeeded", FAST, "4"),
    ],
    "execution-error": [
        Row("a0ed7042", "accepted", "failed, execution_error", (0.5, 2, 4, "JTRaise"), "2"),
        Row("05cd0ca8", "accepted", "failed, execution_error", (0.33, 1, 3, "ImageBlur")),
        Row("10671eea", "accepted", "failed, out_of_memory", (0.33, 1, 3, "JTOom")),
    ],
    # Ended, then deleted from the history: too late to ask.
    "history-ops": [
        Row("2b1d21fe", "accepted", "running > succeeded > absent, same boot", FAST, "4"),
        Row("7e86817b", "accepted", "running > succeeded > absent, same boot", FAST, "4"),
        Row("2f263ee2", "accepted", "running > succeeded > absent, same boot", FAST, "4"),
    ],
    "interrupt-null-id-is-global": [
        Row("6ed8e837", "accepted", "interrupted", (0.02, 1, 3, "JTSleepProgress")),
        Row("77c2eaf2", "accepted", "interrupted", (0.02, 1, 3, "JTSleepProgress")),
        Row("fab702d6", "accepted", "interrupted", (0.02, 1, 3, "JTSleepProgress")),
    ],
    "interrupt-targets-pending": [
        Row("344b2c71", "accepted", "running > succeeded", SLOW, "6 7"),
        Row("6a5e03fa", "accepted", "pending 0 > succeeded", FAST, "4"),
    ],
    "interrupted": [
        Row("279da1de", "accepted", "interrupted", (0.02, 1, 3, "JTSleepProgress")),
        Row("4ca5f357", "accepted", "running > interrupted", (0.02, 1, 3, "JTSleepProgress")),
        Row("9f078bf7", "accepted", "succeeded", FAST, "4"),
    ],
    # The interrupt came late, after the deaf node, but came.
    "interrupted-deaf-node": [
        Row("2d199923", "accepted", "interrupted", (0.67, 2, 3, "SaveImage"))
    ],
    "multi-outputs": [
        Row("63a73bf2", "accepted", "succeeded", (0.99, 8, 8, "SaveImage"), "2 4 5 6 7 8")
    ],
    # Nobody ever connected: truth alone tells the whole story.
    "never-connected-ws-poll-history": [
        Row("7fda218e", "accepted", "running > succeeded"),
        Row("d8fd4e71", "accepted", "running > succeeded"),
    ],
    # ComfyUI takes any id; two of them it cannot be asked about. Everfold's are UUIDs.
    "odd-prompt-ids": [
        Row("None", "accepted", "succeeded", FAST, "4"),
        Row("7", "accepted", "succeeded", FAST, "4"),
        Row("", "accepted", "unreachable", FAST, "4"),
        Row("a/b c", "accepted", "succeeded", FAST, "4"),
        Row("NOT-a-uu", "accepted", "succeeded", FAST, "4"),
        Row("{'x': 1}", "accepted", "unreachable", FAST, "4"),
    ],
    # The orphan looks like an output until the queue is seen, which here it never was.
    "orphan-bad-link": [
        Row("0add86bc", "accepted", "succeeded", (0.67, 2, 3, "SaveImage"), "2"),
        Row("f4161b8c", "accepted", "succeeded", FAST, "4"),
    ],
    "partially-valid": [
        Row("4dc288a2", "accepted, 1 problems", "succeeded", (0.99, 2, 2, "SaveImage"), "2")
    ],
    "queue-cleared": [
        Row("99bf426d", "accepted", "running > succeeded", SLOW, "6 7"),
        Row("2724a428", "accepted", "absent, same boot"),
        Row("fb75b27b", "accepted", "absent, same boot"),
    ],
    # The last was sent with front: it runs next. The heap's order is not the order of execution.
    "queue-of-5": [
        Row("4e486038", "accepted", "running > succeeded", SLOW, "6 7"),
        Row("f9638acc", "accepted", "pending 1 > succeeded", SLOW, "6 7"),
        Row("1abe5b7b", "accepted", "pending 2 > succeeded", SLOW, "6 7"),
        Row("5bdf14fc", "accepted", "pending 3 > succeeded", SLOW, "6 7"),
        Row("5cb1f144", "accepted", "pending 0 > succeeded", SLOW, "6 7"),
    ],
    "server-crash-inside-node": [Row("7338c2fc", "accepted", "unreachable > absent, restarted")],
    # Even what had succeeded is forgotten: outputs are to be recorded when a job ends.
    "server-killed-mid-run-then-restarted": [
        Row(
            "42ea9b20",
            "accepted",
            "succeeded > unreachable > absent, restarted",
            (0.99, 2, 2, "PreviewImage"),
            "2",
        ),
        Row(
            "c48428b8",
            "accepted",
            "running > unreachable > absent, restarted",
            (0.1, 1, 7, "JTSleepProgress"),
        ),
        Row("1d4042ed", "accepted", "pending 0 > unreachable > absent, restarted"),
        Row("cb29635e", "accepted", "succeeded", FAST, "4"),
    ],
    # SIGTERM, then SIGINT: each is an immediate death, not a drain.
    "server-sigterm-mid-run": [
        Row(
            "7e89bc72",
            "accepted",
            "unreachable > absent, restarted > unreachable > absent, restarted",
            (0.1, 1, 7, "JTSleepProgress"),
        ),
        Row(
            "a527880a",
            "accepted",
            "unreachable > absent, restarted",
            (0.1, 1, 7, "JTSleepProgress"),
        ),
    ],
    "slow-with-progress": [Row("6c1e30a9", "accepted", "running > succeeded", SLOW, "6 7")],
    "slow-with-progress-preview-metadata": [Row("76cfd974", "accepted", "succeeded", SLOW, "6 7")],
    # Frozen by another client's socket: history told the end five seconds before the frames did.
    "stalled-client": [
        # The stalled client's own prompt: the recording never asks about it.
        Row("29edad37", "accepted", "pending 0"),
        Row("a73f304f", "accepted", "pending 1 > succeeded", FAST, "4"),
    ],
    "submit-response-lost": [
        Row("891bf9b4", "ambiguous", "succeeded"),
        # Half a body: nothing was queued.
        Row("a4dced05", "withheld", "absent, same boot"),
    ],
    "success": [Row("d984aab4", "accepted", "succeeded", FAST, "4")],
    # Two more prompts, of nobody's client_id, are sprayed over both sockets and counted nowhere.
    "two-clients": [
        Row("96d225c6", "accepted", "succeeded", SLOW, "6 7"),
        Row("f8cb288c", "accepted", "succeeded", FAST, "4"),
        Row("d0d20608", "accepted", "interrupted", (0.02, 1, 3, "JTSleepProgress")),
    ],
    # Deaf from the moment that the older socket closed; the truth goes on.
    "two-sockets-same-client-id": [
        Row("7ec94203", "accepted", "running > succeeded", (0.14, 1, 7, "JTSleepProgress"))
    ],
    "validation-error": [
        Row("98948ac7", "rejected, invalid_workflow", "absent, same boot"),
        Row("c73ba68c", "rejected, invalid_workflow", "absent, same boot"),
        Row("1ad5e040", "rejected, invalid_workflow", "absent, same boot"),
        Row("e8e3208a", "rejected, invalid_workflow", "absent, same boot"),
        # No graph, no JSON, no object: ComfyUI's answer is a 400 and two 500; the adapter sends
        # only the first.
        Row("post 9", "rejected, invalid_workflow", "absent, same boot"),
        Row("post 10", "rejected, invalid_workflow", "absent, same boot"),
        Row("post 11", "rejected, invalid_workflow", "absent, same boot"),
    ],
    "ws-connected-only-after-submit": [Row("f5afe0e1", "accepted", "succeeded", SLOW, "6 7")],
    # Two seconds of messages were lost; the next progress_state made up for them.
    "ws-dropped-and-reconnected-mid-run": [
        Row("e021ed17", "accepted", "running > succeeded", SLOW, "6 7")
    ],
    # Only the truth can tell the end: no message came after the reconnect.
    "ws-dropped-reconnected-after-end": [
        Row("a77d1929", "accepted", "succeeded", (0.1, 1, 7, "JTSleepProgress"))
    ],
    "ws-image-progress": [
        Row("76cefcbb", "accepted", "succeeded", (0.99, 2, 2, "SaveImageWebsocket"))
    ],
    "ws-without-client-id": [Row("db893f4b", "accepted", "succeeded", FAST, "4")],
    # The worker is dead: the rest pends for ever, and one prompt vanished with it.
    "zombie-duplicate-number": [
        Row(
            "1059b7ad",
            "accepted",
            "running > succeeded > unreachable > absent, restarted",
            SLOW,
            "6 7",
        ),
        Row(
            "52fa72f5",
            "accepted",
            "pending 0 > absent, same boot > unreachable > absent, restarted",
        ),
        Row(
            "f240e8c6",
            "accepted > accepted",
            "pending 1 > pending 0 > pending 1 > unreachable > absent, restarted",
        ),
        Row("64df2a4a", "accepted", "pending 0 > unreachable > absent, restarted"),
    ],
    # It says running for ever: only a stall deadline gets the job out of there.
    "zombie-orphan-no-inputs": [
        Row(
            "a43f1698",
            "accepted",
            "running > unreachable > absent, restarted",
            (0.0, 0, 2, None),
        ),
        Row("96d03d21", "accepted", "pending 0 > unreachable > absent, restarted"),
    ],
}

CANCELS = {
    "deleted-from-queue": ["delete ee1012a6", "delete no-such-"],
    "duplicate-prompt-id-submit": ["delete 455325b8"],
    # Three interrupts without an id, each of which the adapter gives one.
    "interrupt-null-id-is-global": [
        "delete 6ed8e837",
        "interrupt 6ed8e837",
        "delete 77c2eaf2",
        "interrupt 77c2eaf2",
        "delete fab702d6",
        "interrupt fab702d6",
    ],
    # A pending prompt is deleted and not interrupted, a running one is both.
    "interrupt-targets-pending": ["delete 6a5e03fa", "delete 344b2c71", "interrupt 344b2c71"],
    # One that is not there is not interrupted; nor is anything while nothing runs.
    "interrupted": [
        "delete 279da1de",
        "interrupt 279da1de",
        "delete no-such-",
        "delete 4ca5f357",
        "interrupt 4ca5f357",
    ],
    "interrupted-deaf-node": ["delete 2d199923", "interrupt 2d199923"],
    "two-clients": ["delete d0d20608", "interrupt d0d20608"],
}
"""What the adapter sends where the recorder canceled something."""
