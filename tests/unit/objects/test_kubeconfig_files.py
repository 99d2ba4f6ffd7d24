"""Kubeconfig files: merged as kubectl does, and refused by field where they cannot be followed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.core.errors import PreconditionError
from bootstrap.objects import kubeconfig_files


def write(path: Path, context: str = "one", current: str = "", **parts: Any) -> Path:
    """A file with one context, cluster c and user u."""
    document = {
        "current-context": current,
        "clusters": [{"name": "c", "cluster": {"server": f"https://{path.name}.test", **parts.get("cluster", {})}}],
        "users": [{"name": "u", "user": {"token": path.name, **parts.get("user", {})}}],
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u", **parts.get("context", {})}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_first_file_that_has_an_entry_decides_about_it(tmp_path: Path) -> None:
    """As kubectl: a context of the second file gets the first one's cluster and user, if their names are the same."""
    files = [tmp_path / "missing", write(tmp_path / "a"), write(tmp_path / "b", "two", current="two")]
    found = kubeconfig_files.read_files(files)
    assert found["current-context"] == "two"
    assert [each["name"] for each in found["contexts"]] == ["one", "two"]
    login = kubeconfig_files.read_login(files, "two")
    assert login["clusters"] == [{"name": "c", "cluster": {"server": "https://a.test"}}]
    assert login["users"] == [{"name": "u", "user": {"token": "a"}}]


def test_the_context_is_found_in_any_file(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", "two")
    listed = {"KUBECONFIG": f"{tmp_path / 'missing'}:{tmp_path / 'a'}:{tmp_path / 'b'}", "HOME": str(tmp_path)}
    assert kubeconfig_files.locate("two", listed) == tmp_path / "b"
    with pytest.raises(PreconditionError, match="no context nine in your kubeconfig; it has: one, two"):
        kubeconfig_files.locate("nine", listed)


def test_the_home_folder_is_the_last_resort(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    write(tmp_path / ".kube/config")
    assert kubeconfig_files.locate("one", {"HOME": str(tmp_path)}) == tmp_path / ".kube/config"


def test_paths_are_those_of_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    for name in ("tls/ca.crt", "tls/me.crt", "tls/me.key"):
        (tmp_path / name).write_text("pem")
    (tmp_path / "tls/login").write_text("#!/bin/sh\n")
    (tmp_path / "tls/login").chmod(0o755)
    user = {"client-certificate": "tls/me.crt", "client-key": "tls/me.key", "exec": {"command": "./tls/login"}}
    file = write(tmp_path / "a", cluster={"certificate-authority": "tls/ca.crt"}, user=user)
    found = kubeconfig_files.read_login([file], "one")
    assert found["clusters"][0]["cluster"]["certificate-authority"] == str(tmp_path / "tls/ca.crt")
    assert found["users"][0]["user"]["client-key"] == str(tmp_path / "tls/me.key")
    assert found["users"][0]["user"]["exec"]["command"] == str(tmp_path / "tls/login")


def test_a_token_file_is_trimmed_and_goes_before_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-the-file\n")
    found = kubeconfig_files.read_login([write(tmp_path / "a", user={"tokenFile": "token"})], "one")
    assert found["users"][0]["user"]["token"] == "from-the-file"
    assert kubeconfig_files.list_token_files(found) == [tmp_path / "token"]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"user": {"as": "admin"}}, "as: acting as somebody else is not supported"),
        ({"user": {"as-groups": ["x"]}}, "as-groups: acting as somebody else"),
        ({"cluster": {"proxy-url": "socks5://proxy:1080"}}, "proxy-url: only http and https proxies are supported"),
        ({"cluster": {"server": "http://api.test"}}, "server: a login is not sent over http"),
        ({"cluster": {"server": "ftp://api.test"}}, "server: ftp://api.test is neither https nor http"),
        (
            {"cluster": {"insecure-skip-tls-verify": True, "certificate-authority-data": "AAAA"}},
            "insecure-skip-tls-verify: true together with a certificate-authority",
        ),
        ({"user": {"client-certificate": "gone.crt"}}, "client-certificate: .*gone.crt: No such file"),
        ({"user": {"exec": {"command": "no-such-login"}}}, "exec.command: the program no-such-login is not there"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_field_and_file(
    tmp_path: Path, parts: dict[str, Any], said: str
) -> None:
    file = write(tmp_path / "a", **parts)
    with pytest.raises(PreconditionError, match=said) as caught:
        kubeconfig_files.read_login([file], "one")
    assert str(file) in caught.value.message


def test_a_login_program_that_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    file = write(tmp_path / "a", user={"exec": {"command": "no-such-login", "installHint": "get it\nthere"}})
    with pytest.raises(PreconditionError) as caught:
        kubeconfig_files.read_login([file], "one")
    assert caught.value.hint == "get it there"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 2: it is not YAML"),
        ("- a list", "is not a kubeconfig"),
        ("a: &a [*a]", "line 1: \\*a stands within"),
        ("a: 1\n---\nb: 1", "it has several documents"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(PreconditionError, match=said) as caught:
        kubeconfig_files.locate("one", {"KUBECONFIG": str(tmp_path / "a")})
    assert str(tmp_path / "a") in caught.value.message


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PreconditionError, match="it is no regular file"):
        kubeconfig_files.read_files([tmp_path / "pipe"])
