"""Listening sockets: an address that is wrong, or taken, is reported before a model is loaded for it."""

import errno
import ipaddress
import shlex
import socket
from dataclasses import dataclass
from typing import Any

from samplecnn.errors import SampleCNNError, UsageError

WAITING = 1024  # connections that the system accepts before the server does


@dataclass(frozen=True)
class Endpoint:
    """An address and a port of this machine.

    Args:
        host: as it was given: an IP address or a name.
        port: 0 for any that is free.
        option: of the command line that gives the host, for messages.
    """

    host: str
    port: int
    option: str = "--host"

    def __post_init__(self) -> None:
        _resolved(self)

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine reach it.

        Example:
            >>> Endpoint("127.0.0.1", 8000).is_loopback, Endpoint("0.0.0.0", 8000).is_loopback
            (True, False)
        """
        return ipaddress.ip_address(_resolved(self)[1][0]).is_loopback

    def listen(self) -> socket.socket:
        """A listening socket: clients can connect from now on, and wait until a server accepts them.

        Raises:
            UsageError: the host is not an address of this machine.
            SampleCNNError: the port is in use, or needs privileges.
        """
        family, address = _resolved(self)
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(address)
            found.listen(WAITING)
        except OSError as error:
            found.close()
            if error.errno == errno.EADDRNOTAVAIL:
                raise self._wrong_host(error.strerror or str(error)) from error
            reason = f"{self.host}, port {self.port}: cannot listen ({error.strerror or error})"
            raise SampleCNNError(f"{reason}; choose another port, or end the program that uses it") from error
        return found

    def url(self, bound: socket.socket, scheme: str = "http") -> str:
        """The address of a socket from `listen`, SCHEME://HOST:PORT."""
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{bound.getsockname()[1]}"

    def _wrong_host(self, reason: str) -> UsageError:
        return UsageError(
            f"{self.option} {shlex.quote(self.host)}: not an address of this machine ({reason}); "
            "give one of its addresses, such as 127.0.0.1, or 0.0.0.0 for all"
        )


def _resolved(endpoint: Endpoint) -> tuple[socket.AddressFamily, Any]:
    """Family and address of a socket; of a name with several, an IPv4 address, which all clients can reach.

    Raises:
        UsageError: there is no such host.
    """
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be encoded for the DNS
        raise endpoint._wrong_host(getattr(error, "strerror", None) or str(error)) from error
    best = min(found, key=lambda each: each[0] != socket.AF_INET)
    return best[0], best[4]
