"""Private keys and known hosts, as ssh-keygen writes them and as people mistake them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootstrap.incluster.ssh_files import find_key_fault, select_host_lines


def run(*words: str) -> str:
    argv = ["ssh-keygen", "-q", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def make_key(folder: Path, *options: str, passphrase: str = "") -> Path:
    file = folder / "key"
    run("-N", passphrase, "-f", str(file), *options)
    return file


KINDS = [
    ("-t", "ed25519"),
    ("-t", "rsa", "-b", "2048"),
    ("-t", "rsa", "-b", "2048", "-m", "PEM"),
    ("-t", "rsa", "-b", "2048", "-m", "PKCS8"),
    ("-t", "ecdsa"),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: "-".join(each))
def test_a_key_without_a_passphrase_will_do_and_one_with_it_will_not(tmp_path: Path, kind: tuple[str, ...]) -> None:
    key = make_key(tmp_path, *kind)
    assert find_key_fault(key.read_text()) == ""
    assert find_key_fault("comment\r\n" + key.read_text().replace("\n", "\r\n")) == ""
    key.unlink()
    locked = make_key(tmp_path, *kind, passphrase="open sesame")
    assert find_key_fault(locked.read_text()).startswith("has a passphrase")
    assert "ssh-keygen -t ed25519 -N ''" in find_key_fault(locked.read_text())


def test_what_is_given_in_place_of_a_private_key_is_named(tmp_path: Path) -> None:
    key = make_key(tmp_path, "-t", "ed25519")
    public = "is a public key; the private one is the file of the same name without .pub"
    assert find_key_fault(Path(f"{key}.pub").read_text()) == public
    key.unlink()
    rsa = make_key(tmp_path, "-t", "rsa", "-b", "2048")
    for form in ("RFC4716", "PKCS8", "PEM"):
        assert find_key_fault(run("-e", "-m", form, "-f", f"{rsa}.pub")) == public
    assert find_key_fault("") == find_key_fault(" \n") == "is empty"
    assert find_key_fault("PuTTY-User-Key-File-3: ssh-ed25519\n").startswith("is a key of PuTTY")
    assert find_key_fault("-----BEGIN CERTIFICATE-----\nAAAA\n") == "is no private key of ssh"


def test_a_key_that_is_cut_off_is_told(tmp_path: Path) -> None:
    text = make_key(tmp_path, "-t", "ed25519").read_text()
    first, *rest = text.splitlines()
    for broken in ("", "AAAA", "!!!!", "b3BlbnNzaC1rZXktdjEA"):
        assert find_key_fault(f"{first}\n{broken}\n{rest[-1]}\n") == "is a private key that is damaged"
    assert find_key_fault(f"{first}\n{rest[0]}\n") == "is no private key of ssh"


ONE, TWO = "git.example.com ssh-ed25519 AAAA1", "[git.example.com]:2222,[10.0.0.1]:2222 ssh-ed25519 AAAA2"


@pytest.mark.parametrize(
    ("text", "port", "wanted"),
    [
        (ONE, 22, [ONE]),
        (f"# {ONE}\n\n{TWO}\n{ONE} comment", 22, [f"{ONE} comment"]),
        (f"{ONE}\n{TWO}", 2222, [TWO]),
        (f"{ONE}\n{TWO}", 2223, []),
        ("GIT.example.COM,10.0.0.1 ssh-rsa AAAA", 22, ["GIT.example.COM,10.0.0.1 ssh-rsa AAAA"]),
        ("*.example.com ssh-rsa AAAA", 22, ["*.example.com ssh-rsa AAAA"]),
        ("*.example.com,!git.example.com ssh-rsa AAAA", 22, []),
        ("git.example.co? ssh-rsa AAAA", 22, ["git.example.co? ssh-rsa AAAA"]),
        ("@cert-authority *.example.com ssh-rsa AAAA", 22, ["@cert-authority *.example.com ssh-rsa AAAA"]),
        ("@revoked git.example.com ssh-rsa AAAA", 22, []),
        (f"@revoked git.example.com ssh-rsa AAAA\n{ONE}", 22, ["@revoked git.example.com ssh-rsa AAAA", ONE]),
        ("git.example.com ssh-rsa", 22, []),
        ("git.example.com.evil.test ssh-rsa AAAA", 22, []),
        ("|1|rubbish ssh-rsa AAAA", 22, []),
        ("|1|!|! ssh-rsa AAAA", 22, []),
        ("@revoked\n@", 22, []),
        ("", 22, []),
    ],
)
def test_the_lines_of_a_host_are_those_that_ssh_would_take(text: str, port: int, wanted: list[str]) -> None:
    assert select_host_lines(text, "git.example.com", port).splitlines() == wanted


@pytest.mark.parametrize("port", [22, 2222])
def test_a_hidden_host_is_found_as_ssh_keygen_hides_it(tmp_path: Path, port: int) -> None:
    key = Path(f"{make_key(tmp_path, '-t', 'ed25519')}.pub").read_text().rpartition(" ")[0]
    known = tmp_path / "known_hosts"
    known.write_text(f"git.example.com {key}\n[git.example.com]:2222 {key}\nother.example.com {key}\n")
    run("-H", "-f", str(known))
    text = known.read_text()
    assert "example" not in text
    assert len(select_host_lines(text, "git.example.com", port).splitlines()) == 1
    assert select_host_lines(text, "git.example.org", port) == ""
