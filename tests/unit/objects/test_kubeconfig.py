"""Kubeconfigs as values."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Secret
from bootstrap.objects import kubeconfig

CA = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"


def document(**cluster: object) -> dict[str, Any]:
    body = {"server": "https://127.0.0.1:6443", "certificate-authority-data": base64.b64encode(CA.encode()).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [{"name": "c1", "cluster": {**body, **cluster}}, {"name": "c2", "cluster": body}],
        "users": [{"name": "u1", "user": {"token": "hidden"}}, {"name": "u2", "user": {}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c1", "user": "u1", "namespace": "here"}},
            {"name": "two", "context": {"cluster": "c2", "user": "u2"}},
            {"name": "torn", "context": {"cluster": "gone", "user": "u1"}},
            {"name": "empty"},
        ],
    }


def text(**cluster: object) -> str:
    return yaml.safe_dump(document(**cluster))


def test_access_follows_the_context() -> None:
    found = kubeconfig.read_access(text(), "one")
    assert (found.cluster, found.user, found.namespace) == ("c1", "u1", "here")
    assert found.server == "https://127.0.0.1:6443"
    assert found.ca == CA
    assert found.is_loopback
    assert not found.insecure
    assert "hidden" not in repr(found)


@pytest.mark.parametrize(
    ("source", "context", "message"),
    [
        (text(), "three", "no context three; it has: one, two, torn, empty"),
        (text(), "torn", "no cluster gone; it has: c1, c2"),
        (text(), "empty", "no cluster (unnamed)"),
        (text(server=""), "one", "no usable server"),
        (text(server="nonsense"), "one", "no usable server"),
        (text(**{"certificate-authority-data": "???"}), "one", "not base64"),
        ("a: [", "one", "line 2: it is not YAML: did not find expected node content"),
        ("- a list", "one", "is not a kubeconfig"),
        ("", "one", "is not a kubeconfig"),
        ("contexts: 5", "one", "it has: none"),
    ],
)
def test_access_says_what_is_wrong(source: str, context: str, message: str) -> None:
    with pytest.raises(PreconditionError) as caught:
        kubeconfig.read_access(source, context, source="/home/me/config")
    assert message in caught.value.message
    assert "/home/me/config" in caught.value.message


def test_minify_keeps_one_context_only() -> None:
    small = kubeconfig.minify(text(), "two")
    assert small["current-context"] == "two"
    assert [each["name"] for list_ in ("contexts", "clusters", "users") for each in small[list_]] == ["two", "c2", "u2"]


def test_minify_needs_the_user() -> None:
    broken = document()
    broken["users"] = []
    with pytest.raises(PreconditionError, match="no user u1"):
        kubeconfig.minify(yaml.safe_dump(broken), "one")


def test_a_built_kubeconfig_is_read_back() -> None:
    built = kubeconfig.make_with_token("https://10.0.0.1:6443", CA, Secret("t0ken"), namespace="demo")
    found = kubeconfig.read_access(yaml.safe_dump(built), "target")
    assert (found.server, found.ca, found.namespace, found.is_loopback) == ("https://10.0.0.1:6443", CA, "demo", False)
    assert built["users"][0]["user"] == {"token": "t0ken"}
    assert kubeconfig.read_current_context(yaml.safe_dump(built)) == "target"


def test_without_a_ca_the_system_decides() -> None:
    built = kubeconfig.make_with_token("https://api.example.org", "", Secret("t"), namespace="demo")
    assert built["clusters"][0]["cluster"] == {"server": "https://api.example.org"}


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("https://127.0.0.1:6443", True),
        ("https://127.8.9.1", True),
        ("https://[::1]:6443", True),
        ("https://0.0.0.0:6443", True),
        ("https://localhost:6443", True),
        ("https://LOCALHOST", True),
        ("https://kind.localhost", True),
        ("https://172.18.0.2:6443", False),
        ("https://localhost.example.org", False),
        ("https://api.example.org", False),
        ("", False),
    ],
)
def test_loopback(server: str, expected: bool) -> None:
    assert kubeconfig.is_loopback(server) is expected


def test_no_current_context() -> None:
    with pytest.raises(PreconditionError, match="no current context"):
        kubeconfig.read_current_context("clusters: []")
