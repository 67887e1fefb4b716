"""Hosts and addresses as text: checked once, joined in one way, IPv6 included."""

import ipaddress
import re
import socket

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
ANY_HOST = ("0.0.0.0", "::", "*")  # noqa: S104 - compared, not bound


def check_host(text: str) -> str:
    """A host as the resolver takes it: an IP address without brackets, or a name.

    Raises:
        ValueError: It is neither; the message says what it looks like.
    """
    host = text.strip()
    if "://" in host:
        raise ValueError(f'must be a host without a scheme: "{_without_scheme(host)}"')
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif re.fullmatch(r"(\[.*\]|[^:]+):\d+", host):
        bare = host.rpartition(":")[0].strip("[]")
        raise ValueError(f'must be a host without a port: "{bare}"; the port has a setting of its own')
    if host == "*":
        return host
    if ":" in host or re.fullmatch(r"[\d.]+", host):
        try:
            ipaddress.ip_address(host)
        except ValueError as error:
            raise ValueError(f"must be an IP address or a host name: {host} is no IP address") from error
        return host
    name = host.removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(_ascii(label)) for label in name.split(".")):
        raise ValueError(f'must be an IP address or a host name, got "{text}"')
    return host


def _ascii(label: str) -> str:
    if label.isascii():
        return label  # without the codec, which is imported at its first use
    try:
        return label.encode("idna").decode("ascii")
    except UnicodeError:
        return label


def _without_scheme(text: str) -> str:
    host = text.partition("://")[2].partition("/")[0]
    return re.sub(r":\d+$", "", host)


def tcp_address(host: str, port: int | None = None) -> str:
    """`tcp://host:port`, or `tcp://host` without a port; an IPv6 address gets its brackets."""
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"tcp://{host}" if port is None else f"tcp://{host}:{port}"


def own_host_name() -> str:
    """The name of this host as valid Unicode: bytes that are not UTF-8 become escapes."""
    return socket.gethostname().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
