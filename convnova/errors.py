"""The one exception that reaches a user as a single line, and what no line may have in it."""

import difflib
import re
from pathlib import Path

SECRET = re.compile(
    r"(?<=://)[^/?#\s]*@"
    r"|(?<=[?&;#])((?:[\w.%-]{0,60}(?:token|secret|passw|pwd|auth(?!or)|credential|signature|session|policy|api[_-]?key"
    r"|key-pair)[\w.%-]{0,60}|sig|key|jwt|pass|pw)=)[^&;#\s'\"]*",
    re.IGNORECASE,
)
"""In an address: user and password, or a parameter that is named like a password, a token or a signature."""

LONGEST_MESSAGE = 2_000


class ConvNovaError(Exception):
    """A mistake that a user can correct.

    The message says what was expected, what was found, where, and what to do. The command line prints it as one line
    and exits with code 1. Passwords and tokens in addresses are left out of it, and the middle of a message that quotes
    too much of a file.
    """

    def __init__(self, message: str):
        half, line = LONGEST_MESSAGE // 2, without_secrets(" ".join(message.splitlines()))
        super().__init__(line if len(line) <= LONGEST_MESSAGE else f"{line[: half - 5]} ... {line[-half:]}")


class DamagedFile(ConvNovaError):
    """Files that are not as they were written. A command moves `paths` aside, so that the workflow makes them anew."""

    def __init__(self, message: str, *paths: str | Path):
        super().__init__(message)
        self.paths = paths


def nearest(name: str, known: list[str]) -> str:
    """A question whether the known name that is closest is meant, or a list of all of them."""
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"


def without_secrets(text: str) -> str:
    """A text without the passwords and tokens of the addresses in it.

    >>> without_secrets("https://me:pass@host.example/a.gz?download=1&token=abc")
    'https://host.example/a.gz?download=1&token=***'
    """
    return SECRET.sub(lambda match: f"{match[1]}***" if match[1] else "", text)
