"""The client's command lines, what its complaints mean, and how the far side's view is read."""

from __future__ import annotations

import subprocess

import pytest

from bootstrap.commands import ssh_client
from bootstrap.commands.ssh_client import RemotePort, SshLogin
from bootstrap.core.errors import UsageError

LOGIN = SshLogin("ada@example.org")


@pytest.mark.parametrize(
    "to", ["ada@example.org", "example.org", "hub", "a.b-c@10.0.0.1", "ada@[::1]", "ada@fe80::1%eth0"]
)
def test_logins(to: str) -> None:
    assert LOGIN.make_reverse_command(9080, 40000)[-2:] == ["--", "ada@example.org"]
    assert SshLogin(to).make_reverse_command(9080, 40000)[-1] == to


@pytest.mark.parametrize(
    "to",
    [
        "",
        "-oProxyCommand=id",
        "ada@-oProxyCommand=id",
        "-l@host",
        "a b",
        "ada@host;id",
        "$(id)",
        "ssh://ada@host",
        "a@b@c",
    ],
)
def test_what_is_no_login_is_refused(to: str) -> None:
    with pytest.raises(UsageError) as caught:
        SshLogin(to)
    assert caught.value.hint == "invoke tunnel user@host"


def test_the_port_of_sshd_must_be_one() -> None:
    with pytest.raises(UsageError, match="70000 is not a port"):
        SshLogin("host", port=70000)


def test_what_was_chosen_is_in_every_command_line() -> None:
    login = SshLogin("ada@host", 2222, "/keys/key one", "/keys/config")
    for words in (login.make_reverse_command(9080, 40000), login.make_check_command(9080)):
        text = " ".join(words)
        assert "-F /keys/config -p 2222 -i /keys/key one -o IdentitiesOnly=yes" in text
        assert "BatchMode=yes" in text
        assert "ControlPath=none" in text
    assert "-N -o ExitOnForwardFailure=yes -R *:9080:127.0.0.1:40000 -- ada@host" in " ".join(
        login.make_reverse_command(9080, 40000)
    )
    assert login.make_check_command(9080)[-5:] == ["--", "ada@host", "sh", "-s", "9080"]
    assert login.format_command("true") == (
        "ssh -F /keys/config -p 2222 -i '/keys/key one' -o IdentitiesOnly=yes ada@host true"
    )


@pytest.mark.parametrize(
    ("said", "words", "hint", "lasting"),
    [
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "not the one",
            "-R",
            True,
        ),
        ("No ED25519 host key is known for x\nHost key verification failed.", "does not know the key", "true", True),
        ("ada@example.org: Permission denied (publickey).", "does not let us in", "ssh-copy-id", True),
        ("/c line 1: Bad configuration option: x\n/c: terminating, 1 bad configuration options", "/c: term", "", True),
        ("Error: remote port forwarding failed for listen port 9080", "taken there", "--port 9081", False),
        ("ssh: Could not resolve hostname example.org: Name or service not known", "no host example.org", "", False),
        ("connect to host example.org port 22: Connection refused", "no sshd answers", "--ssh-port", False),
        ("Timeout, server example.org not responding.", "not responding", "true", False),
        ("", "ssh ended: without a word", "true", False),
    ],
)
def test_what_a_complaint_means(said: str, words: str, hint: str, lasting: bool) -> None:
    found = ssh_client.explain_refusal(said, LOGIN, 9080)
    assert words in found.message
    assert hint in found.hint
    assert found.lasting is lasting


V4 = "   1: {}:2378 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0"
LOOPBACK6 = "0" * 24 + "01000000"


@pytest.mark.parametrize(
    ("printed", "wanted"),
    [
        ("", RemotePort()),
        ("answer curl 200", RemotePort("curl", 200, "unknown")),
        ("answer nc 0\n" + V4.format("0100007F"), RemotePort("nc", 0, "loopback")),
        ("answer curl 000\n" + V4.format("0100007F"), RemotePort("curl", 0, "loopback")),
        (
            "answer curl 200\n" + V4.format("0100007F") + "\n" + V4.format(LOOPBACK6),
            RemotePort("curl", 200, "loopback"),
        ),
        ("answer curl 200\n" + V4.format("00000000") + "\n" + V4.format("0" * 32), RemotePort("curl", 200, "all")),
        ("answer curl 200\n" + V4.format("0" * 16 + "FFFF00000100007F"), RemotePort("curl", 200, "loopback")),
        ("answer curl 200\n" + V4.format("0100007F") + "\n" + V4.format("0A00A8C0"), RemotePort("curl", 200, "all")),
        ("Welcome!\nanswer bash 404\nbye", RemotePort("bash", 404, "unknown")),
    ],
)
def test_the_far_sides_view(printed: str, wanted: RemotePort) -> None:
    assert ssh_client.parse_check(printed) == wanted


def test_the_script_is_plain_sh_and_asks_with_what_is_there() -> None:
    done = subprocess.run(
        ["/bin/sh", "-s", "1"], input=ssh_client.CHECK, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ssh_client.parse_check(done.stdout).status == 0
    assert ssh_client.parse_check(done.stdout).tool
