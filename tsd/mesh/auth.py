"""Who may bind the mesh where, and (later) whom a link lets in.

CURVE will live here: the keys, the list of allowed public keys, and a small trio task that answers ZAP
requests, denying by default. Until then every link is plaintext, so a bind that other machines can reach
has to be allowed in so many words.
"""

import ipaddress

from tsd.errors import ConfigError


def check_bind(host: str, *, allow_plaintext: bool) -> None:
    """Refuse to listen in plaintext where other machines can connect.

    Args:
        host: IP address or name that is about to be bound. Of names only `localhost` counts as loopback,
            since any other may come to mean another address.
        allow_plaintext: The operator allowed plaintext links on this network.

    Raises:
        ConfigError: The host is not loopback and plaintext is not allowed.
    """
    if allow_plaintext or is_loopback(host):
        return
    message = f"{host} is not loopback and mesh links are plaintext: set allow_plaintext to bind it"
    raise ConfigError("The mesh can not listen", [("", message)])


def is_loopback(host: str) -> bool:
    """Say whether only this machine can connect to the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
