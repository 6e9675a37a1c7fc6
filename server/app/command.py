"""How a command of `tercet` ends that cannot be done: in sentences, and with an exit code."""


class UsageError(Exception):
    """The command line cannot be understood; exit code 2."""


class CommandFailed(Exception):
    """The command was understood and could not be done; exit code 1."""
