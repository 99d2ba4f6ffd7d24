"""Addresses of repositories: the short form of ssh, hosts, ports, and what a login is for."""

from __future__ import annotations

import pytest

from bootstrap.incluster.repository_address import expand_scp_form, find_origin, find_ssh_host, is_ssh


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("git@git.example.com:sales/orders.git", "ssh://git@git.example.com/sales/orders.git"),
        ("git@git.example.com:/srv/orders.git", "ssh://git@git.example.com/srv/orders.git"),
        ("git@git.example.com:22/orders", "ssh://git@git.example.com/22/orders"),
        ("ssh://git@git.example.com:2222/orders", "ssh://git@git.example.com:2222/orders"),
        ("https://git.example.com/a:b", "https://git.example.com/a:b"),
        ("sales/orders:1", "sales/orders:1"),
        ("orders", "orders"),
        ("", ""),
    ],
)
def test_the_short_form_of_ssh_is_written_out(address: str, wanted: str) -> None:
    assert expand_scp_form(address) == wanted
    assert expand_scp_form(wanted) == wanted


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("ssh://git@Git.example.com/a/b", "git.example.com", 22),
        ("ssh://git@git.example.com:2222/a:3/b", "git.example.com", 2222),
        ("ssh://git.example.com:22/a", "git.example.com", 22),
    ],
)
def test_a_host_has_a_port(address: str, host: str, port: int) -> None:
    assert find_ssh_host(address) == (host, port)


def test_a_login_is_for_scheme_host_and_port() -> None:
    assert find_origin("HTTPS://Git.example.com:8443/a/b.git") == "https://git.example.com:8443"
    assert find_origin("https://git.example.com") == "https://git.example.com"


def test_git_goes_by_ssh_where_the_scheme_says_so() -> None:
    assert is_ssh("ssh://git@git.example.com/a")
    assert not is_ssh("https://git.example.com/ssh://a")
