"""How many connections may wait to be accepted, where a library has chosen it and cannot be asked.

Who comes while as many wait as may is not answered, and its kernel asks again after one second, then after
two more. So do most clients when a server comes back and all of them with it.
"""

from contextlib import suppress

from server.api.own_sockets import lent, own_listeners

BACKLOG = 4096
"""The kernel takes the lesser of this and of its own bound, net.core.somaxconn."""


def lengthen_backlog(port: int) -> None:
    """Have so many connections wait at each listener of this process on that port. Elsewhere than on Linux,
    and if a listener is closed meanwhile, nothing changes.
    """
    with suppress(OSError):
        for number in own_listeners(port):
            with lent(number) as listener:
                listener.listen(BACKLOG)
