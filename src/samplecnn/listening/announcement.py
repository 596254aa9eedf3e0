"""Announces a Wyoming server in the local network (mDNS, DNS-SD), so that Home Assistant offers it by itself.

Only where the package zeroconf is installed, and never for a server that no other machine can reach.
"""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import gethostname, socket

from samplecnn.extras import is_installed
from samplecnn.system import log

SERVICE = "_wyoming._tcp.local."  # the type of service that Home Assistant looks for
LABEL_BYTES = 60  # of the 63 of a DNS label: room for a number after a name that is taken


@asynccontextmanager
async def announced(listening: socket, name: str, loopback: bool = False) -> AsyncIterator[None]:
    """Announces a server for as long as the block; a network that does not permit it is a warning.

    Args:
        listening: its socket.
        name: of the service; that of this machine is appended, since names are unique in a network.
        loopback: announce one on the loopback interface too, to programs of this machine.
    """
    host, port = listening.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if not is_installed("zeroconf") or (address.is_loopback and not loopback):
        yield
        return
    import ifaddr  # which zeroconf needs too
    from zeroconf import Error, InterfaceChoice, IPVersion
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    every = address.is_unspecified
    own = [str(each.ip) for adapter in ifaddr.get_adapters() for each in adapter.ips if each.is_IPv4]
    hosts = [str(each) for each in own if not ipaddress.ip_address(each).is_loopback] if every else [host]
    machine = gethostname().partition(".")[0]
    label = f"{name} {machine}".replace(".", " ").encode()[:LABEL_BYTES].decode(errors="ignore")
    server = f"samplecnn-{port}-{machine}.local."
    info = AsyncServiceInfo(SERVICE, f"{label}.{SERVICE}", port=port, parsed_addresses=hosts, server=server)
    network, registered = None, False
    try:
        version = IPVersion.V6Only if address.version == 6 and not every else IPVersion.V4Only
        network = AsyncZeroconf(interfaces=InterfaceChoice.Default if every else [host], ip_version=version)
        await network.async_register_service(info, allow_name_change=True)
        registered = True
    except (OSError, RuntimeError, ValueError, Error) as error:
        log.warn(f"--wyoming: not announced in the network ({error}); add the address in Home Assistant by hand")
    try:
        yield
    finally:
        if network is not None:
            if registered:
                await network.async_unregister_service(info)
            await network.async_close()
