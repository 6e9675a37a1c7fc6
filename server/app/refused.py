"""Why a server does not start, where the operator can mend it."""


class StartRefused(Exception):
    """The server cannot start as it is asked to; the sentence says why."""
