"""Closes the network to a process.

Tests put this folder on PYTHONPATH, so that sitecustomize.py closes it in every Python that they
start too: notebook kernels, subprocesses.
"""

import ipaddress
import os
import sys
from functools import cache


class NetworkClosedError(ConnectionError):
    """A test tried to reach another machine."""


def is_this_machine(host: object) -> bool:
    """Whether a host name or address, as sockets take it, means the machine we run on."""
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_other_machines(event: str, arguments: tuple) -> None:
    """An audit hook: NetworkClosedError before a name is looked up or an address reached."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return  # another event, or a Unix socket, whose address is a path
    if not is_this_machine(host):
        raise NetworkClosedError(
            f"the tests run with the network closed, and something tried to reach {host}; "
            "ship what the test needs, or make the code look in its cache first."
        )


@cache  # an audit hook cannot be taken out again: one is enough
def close_network() -> None:
    """From now on this process reaches its own machine and no other."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):  # a proxy here would let all out
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    sys.addaudithook(refuse_other_machines)
