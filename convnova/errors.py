"""The one exception that reaches a user as a single line."""

import difflib

LONGEST_MESSAGE = 2_000


class ConvNovaError(Exception):
    """A mistake that a user can correct.

    The message says what was expected, what was found, where, and what to do. The command line prints it as one line
    and exits with code 1. Of a message that quotes too much of a file, the middle is left out.
    """

    def __init__(self, message: str):
        half, line = LONGEST_MESSAGE // 2, " ".join(message.splitlines())
        super().__init__(line if len(line) <= LONGEST_MESSAGE else f"{line[: half - 5]} ... {line[-half:]}")


def nearest(name: str, known: list[str]) -> str:
    """A question whether the known name that is closest is meant, or a list of all of them."""
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
