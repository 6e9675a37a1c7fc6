"""Tells a service manager how this process stands, as sd_notify(3) describes it: one datagram a state.

systemd names the socket in NOTIFY_SOCKET for a unit of Type=notify; without that, nothing is told.
"""

import os
import socket

import structlog

log = structlog.get_logger(__name__)

READY = "READY=1"
STOPPING = "STOPPING=1"


def tell(state: str) -> None:
    """Never blocks, and never raises: a manager that cannot be told is no reason not to serve."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an address in Linux' abstract namespace
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.sendto(state.encode(), address)
    except OSError as error:
        log.warning("service_manager_not_told", state=state, reason=str(error))
