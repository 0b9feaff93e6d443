"""The one exception that reaches a user as a single line."""


class ConvNovaError(Exception):
    """Something a user can mend.

    The message says what was expected, what was found, where, and what to do. The command line
    prints it as one line and exits with code 1.
    """
