"""Hosts as settings give them, and addresses as the mesh dials them."""

import socket

import pytest

from tsd.addresses import check_host, own_host_name, tcp_address


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("localhost", "localhost"),
        ("master.example.com", "master.example.com"),
        ("master.example.com.", "master.example.com."),
        ("under_score-1", "under_score-1"),
        ("bücher.example", "bücher.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::", "::"),
        ("*", "*"),
        (" 10.0.0.7 ", "10.0.0.7"),
    ],
)
def test_hosts_that_a_resolver_or_kernel_takes_pass(given, host):
    assert check_host(given) == host


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("300.1.1.1", "300.1.1.1 is no IP address"),
        ("1.2.3", "1.2.3 is no IP address"),
        ("1:2:3", "1:2:3 is no IP address"),
        ("http://master:5679", 'without a scheme: "master"'),
        ("tcp://10.0.0.1", 'without a scheme: "10.0.0.1"'),
        ("master:5679", 'without a port: "master"'),
        ("[::1]:5679", 'without a port: "::1"'),
        ("a b", 'got "a b"'),
        ("a..b", 'got "a..b"'),
        ("-a", 'got "-a"'),
        ("a/b", 'got "a/b"'),
        ("a" * 64, "host name"),
        ("", "host name"),
    ],
)
def test_what_can_never_be_an_address_is_refused_with_what_to_write(given, advice):
    with pytest.raises(ValueError, match="must be") as refused:
        check_host(given)

    assert advice in str(refused.value)


def test_an_ipv6_address_has_brackets_where_a_port_follows():
    assert tcp_address("::1", 5679) == "tcp://[::1]:5679"
    assert tcp_address("::1") == "tcp://[::1]"
    assert tcp_address("[::1]", 1) == "tcp://[::1]:1"
    assert tcp_address("10.0.0.1", 5679) == "tcp://10.0.0.1:5679"
    assert tcp_address("*", 0) == "tcp://*:0"


def test_a_host_name_that_is_not_utf_8_becomes_valid_text(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "caf\udce9")

    assert own_host_name() == "caf\\xe9"
    own_host_name().encode()
