"""What a Secret has to hold to be the login of a repository, and how it is given to git."""

from __future__ import annotations

import base64
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bootstrap.incluster.git_login import (
    BASIC_AUTH,
    SSH_AUTH,
    GitLogin,
    LoginFault,
    make_ssh_command,
    read_login,
    write_files,
)

SSH, HTTPS = "ssh://git@git.example.com/sales/orders.git", "https://git.example.com:8443/sales/orders.git"
HOST = "git.example.com ssh-ed25519 AAAA\n"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("key") / "key"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)]
    subprocess.run(words, check=True)
    return file.read_text()


def secret(kind: str, *, hosts: tuple[str, ...] = (), **data: str) -> dict[str, Any]:
    annotations = {f"tekton.dev/git-{number}": host for number, host in enumerate(hosts)}
    encoded = {name.replace("ssh_", "ssh-"): base64.b64encode(text.encode()).decode() for name, text in data.items()}
    return {"type": kind, "metadata": {"name": "sales-git", "annotations": annotations}, "data": encoded}


def find_fault(found: dict[str, Any] | None, url: str) -> LoginFault:
    with pytest.raises(LoginFault) as caught:
        read_login(found, "sales-git", url)
    return caught.value


def test_a_key_with_its_host_is_a_login_by_ssh(key: str) -> None:
    other = "git.example.org ssh-ed25519 BBBB\n"
    found = read_login(secret(SSH_AUTH, ssh_privatekey=key.rstrip(), known_hosts=HOST + other), "sales-git", SSH)
    assert found.by_ssh
    assert found.files == {"ssh-privatekey": key, "known_hosts": HOST}
    assert "PRIVATE" not in repr(found)


def test_the_port_counts(key: str) -> None:
    at_port = SSH.replace(".com/", ".com:2222/")
    fault = find_fault(secret(SSH_AUTH, ssh_privatekey=key, known_hosts=HOST), at_port)
    assert (
        str(fault)
        == "known_hosts of Secret sales-git has no key of git.example.com at port 2222: the host has to be pinned"
    )
    assert fault.hint.startswith("ssh-keyscan -p 2222 git.example.com > known_hosts · ")


def test_without_known_hosts_it_is_refused_with_what_to_type(key: str) -> None:
    fault = find_fault(secret(SSH_AUTH, ssh_privatekey=key), SSH)
    assert str(fault) == "known_hosts of Secret sales-git is missing: the host has to be pinned"
    assert fault.hint.startswith("ssh-keyscan git.example.com > known_hosts · ssh-keygen -lf known_hosts: compare")


def test_a_key_that_will_not_do_is_told_without_a_word_of_it(key: str) -> None:
    fault = find_fault(secret(SSH_AUTH, ssh_privatekey="ssh-ed25519 AAAAkey you@host", known_hosts=HOST), SSH)
    assert str(fault).startswith("ssh-privatekey of Secret sales-git is a public key")
    assert "AAAA" not in str(fault) + fault.hint
    assert "is empty" in str(find_fault(secret(SSH_AUTH, known_hosts=HOST), SSH))


def test_one_that_is_missing_or_of_another_type_is_told_with_the_command_that_makes_it() -> None:
    fault = find_fault(None, SSH)
    assert str(fault) == "Secret sales-git is not there"
    assert fault.hint == (
        "kubectl -n cicd create secret generic sales-git --type=kubernetes.io/ssh-auth "
        "--from-file=ssh-privatekey=FILE --from-file=known_hosts=FILE"
    )
    fault = find_fault(secret("Opaque", password="open sesame"), HTTPS)
    assert str(fault) == f"Secret sales-git is of type Opaque; {HTTPS} needs kubernetes.io/basic-auth"
    assert "--type=kubernetes.io/basic-auth" in fault.hint
    assert "sesame" not in str(fault) + fault.hint
    assert "needs kubernetes.io/ssh-auth" in str(find_fault(secret(BASIC_AUTH, username="a", password="b"), SSH))


def test_a_password_is_for_the_hosts_that_its_secret_names() -> None:
    given = {"username": "ada\n", "password": "open sesame\n"}
    hosts = ("https://git.example.org", "https://Git.example.com:8443/")
    found = read_login(secret(BASIC_AUTH, hosts=hosts, **given), "sales-git", HTTPS)
    assert found.files == {"username": "ada", "password": "open sesame"}
    assert not found.by_ssh
    fault = find_fault(secret(BASIC_AUTH, hosts=(), **given), HTTPS)
    assert str(fault) == "Secret sales-git does not say that it is for https://git.example.com:8443"
    assert fault.hint == "kubectl -n cicd annotate secret sales-git tekton.dev/git-0=https://git.example.com:8443"
    fault = find_fault(secret(BASIC_AUTH, hosts=("https://git.example.com",), **given), HTTPS)
    assert str(fault).endswith("for https://git.example.com:8443; it is for https://git.example.com")
    assert "tekton.dev/git-1=" in fault.hint


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"username": "ada"}, "has no password"),
        ({"username": "", "password": "x"}, "has no username"),
        ({"username": "ada", "password": "x\nhost=evil.test"}, "has more than one line"),
        ({"username": "a\rb", "password": "x"}, "has more than one line"),
    ],
)
def test_a_password_that_is_none_is_told(data: dict[str, str], why: str) -> None:
    fault = find_fault(secret(BASIC_AUTH, hosts=("https://git.example.com:8443",), **data), HTTPS)
    assert why in str(fault)
    assert "evil" not in str(fault)


def test_data_that_is_no_text_counts_as_missing() -> None:
    found = secret(SSH_AUTH, known_hosts=HOST) | {"data": {"ssh-privatekey": "/w=="}}
    assert "is empty" in str(find_fault(found, SSH))


def test_files_are_their_users_alone(tmp_path: Path) -> None:
    write_files(GitLogin({"ssh-privatekey": "k\n", "known_hosts": HOST}), tmp_path)
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o400}
    assert (tmp_path / "ssh-privatekey").read_text() == "k\n"


def test_ssh_asks_nobody_and_knows_nobody_else() -> None:
    command = make_ssh_command(Path("/run/keys/a b"))
    assert command.startswith("ssh -F none -i '/run/keys/a b/ssh-privatekey' ")
    assert "'UserKnownHostsFile=/run/keys/a b/known_hosts'" in command
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "ConnectTimeout=15"):
        assert f"-o {option}" in command
