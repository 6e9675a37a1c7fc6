"""How many connections may wait to be accepted.

Who comes while as many wait as may is not answered, and its kernel asks again after one second, then after
two more. So do most clients when a server comes back and all of them with it.
"""

BACKLOG = 4096
"""The kernel takes the lesser of this and of its own bound, net.core.somaxconn."""
