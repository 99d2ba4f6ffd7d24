"""The environment's folder: made once, readable by its owner only, renewed when it is due."""

from __future__ import annotations

import base64
import datetime
import json
import threading
from pathlib import Path

import bcrypt
import pytest

from bootstrap.core import pki
from bootstrap.core.model import Secret
from bootstrap.world import environment_store as module
from bootstrap.world.environment_store import Identity

NONE = Secret("")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "environments/demo"


@pytest.fixture
def identity(folder: Path) -> Identity:
    return Identity(folder, "demo")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_written_before_something_is_asked_for(identity: Identity, folder: Path) -> None:
    assert not folder.exists()
    assert identity.list_passwords() == []
    assert identity.ensure_password("git", Secret("wanted")) == Secret("wanted")
    assert not folder.exists()


def test_everything_is_readable_by_its_owner_only(identity: Identity, folder: Path) -> None:
    identity.write_docker_config("builder", Secret("p"), ("127.0.0.1:1",))  # the first to make the folder
    identity.ensure_certificate("registry", ("localhost",))
    identity.ensure_password("git", NONE)
    identity.ensure_htpasswd("builder", Secret("p"))
    identity.write_file("kubeconfig", b"k")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}
    assert modes.pop("demo") == modes.pop("docker") == 0o700
    assert len(modes) == 8
    assert set(modes.values()) == {0o600}, "and no temporary file is left"


def test_what_was_made_is_found_again(identity: Identity, folder: Path) -> None:
    made = (
        identity.ensure_ca(),
        identity.ensure_certificate("registry", ("localhost",)),
        identity.ensure_password("git", NONE),
        identity.ensure_htpasswd("builder", Secret("p")),
    )
    again = Identity(folder, "demo")
    found = (
        again.ensure_ca(),
        again.ensure_certificate("registry", ("localhost",)),
        again.ensure_password("git", NONE),
        again.ensure_htpasswd("builder", Secret("p")),
    )
    assert found == made
    assert again.ca_file.read_bytes() == made[0].certificate


def test_asking_again_writes_nothing(identity: Identity, folder: Path) -> None:
    def ask() -> set[int]:
        identity.write_docker_config("builder", Secret("p"), ("127.0.0.1:1",))
        identity.write_file("kubeconfig", b"k")
        identity.ensure_certificate("registry")
        return {path.stat().st_ino for path in folder.rglob("*")}

    assert ask() == ask()


def test_random_passwords_differ_and_are_long(identity: Identity) -> None:
    one, other = identity.ensure_password("git", NONE), identity.ensure_password("registry", NONE)
    assert one != other
    assert len(one.reveal()) >= 32
    assert set(identity.list_passwords()) == {one, other}


def test_a_wish_outweighs_the_random_password_and_is_not_kept(identity: Identity, folder: Path) -> None:
    random = identity.ensure_password("git", NONE)
    assert identity.ensure_password("git", Secret("wish")).reveal() == "wish"
    assert identity.ensure_password("git", NONE) == random
    assert b"wish" not in b"".join(contents(folder).values())


def test_htpasswd_follows_the_password_and_the_name(identity: Identity) -> None:
    first = identity.ensure_htpasswd("builder", Secret("one"))
    user, _, hashed = first.strip().partition(b":")
    assert user == b"builder"
    assert bcrypt.checkpw(b"one", hashed)
    assert identity.ensure_htpasswd("builder", Secret("one")) == first
    second = identity.ensure_htpasswd("builder", Secret("two"))
    assert bcrypt.checkpw(b"two", second.strip().partition(b":")[2])
    assert identity.ensure_htpasswd("other", Secret("two")).startswith(b"other:")


def test_each_htpasswd_has_a_file_of_its_own(identity: Identity) -> None:
    first, second = identity.ensure_htpasswd("a", Secret("one")), identity.ensure_htpasswd("b", Secret("two"), "second")
    assert identity.ensure_htpasswd("a", Secret("one")) == first
    assert identity.ensure_htpasswd("b", Secret("two"), "second") == second


def test_docker_logs_in_to_every_name_of_the_registry(identity: Identity) -> None:
    folder = identity.write_docker_config("builder", Secret("p:w"), ("127.0.0.1:1", "registry:5000"))
    auths = json.loads((folder / "config.json").read_text())["auths"]
    assert {host: base64.b64decode(each["auth"]) for host, each in auths.items()} == {
        "127.0.0.1:1": b"builder:p:w",
        "registry:5000": b"builder:p:w",
    }


def later(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    monkeypatch.setattr(module, "_now", lambda: now)


def test_a_certificate_is_issued_again_when_it_is_due(
    identity: Identity, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 100 days: those of earlier versions lived shorter than their CA."""
    authority = identity.ensure_ca()
    first = pki.issue_certificate(authority, "registry", ("localhost",), module._now(), days=100)
    (folder / "registry.crt").write_bytes(first.certificate)
    (folder / "registry.key").write_bytes(first.key)
    later(monkeypatch, 60)
    assert identity.ensure_certificate("registry", ("localhost",)) == first
    later(monkeypatch, 80)
    assert identity.ensure_certificate("registry", ("localhost",)) != first
    assert identity.ensure_ca() == authority


def test_a_certificate_is_issued_again_for_other_hosts(identity: Identity) -> None:
    first = identity.ensure_certificate("registry", ("localhost",))
    second = identity.ensure_certificate("registry", ("localhost", "127.0.0.1"))
    assert second != first
    assert identity.ensure_certificate("registry", ("127.0.0.1",)) == second


@pytest.mark.parametrize("lost", ["registry.key", "registry.crt"])
def test_half_a_certificate_is_replaced(identity: Identity, folder: Path, lost: str) -> None:
    first = identity.ensure_certificate("registry")
    (folder / lost).unlink()
    assert identity.ensure_certificate("registry") != first


def test_an_interrupted_renewal_is_done_again(identity: Identity, folder: Path) -> None:
    first = identity.ensure_certificate("registry")
    (folder / "registry.key").write_bytes(
        pki.issue_certificate(identity.ensure_ca(), "registry", (), module._now()).key
    )
    second = identity.ensure_certificate("registry")
    assert second.certificate != first.certificate
    assert pki.is_current(second, identity.ensure_ca().certificate, (), module._now())


def test_a_lost_authority_takes_its_certificates_with_it(identity: Identity, folder: Path) -> None:
    first = identity.ensure_certificate("registry")
    (folder / "ca.key").unlink()
    assert identity.ensure_certificate("registry") != first


def test_threads_that_ask_at_once_get_the_same(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    meet = threading.Barrier(8)
    found: list[object] = []
    make = pki.make_authority

    def slow(name: str, now: datetime.datetime) -> pki.KeyPair:
        pair = make(name, now)
        threading.Event().wait(0.05)
        return pair

    monkeypatch.setattr(pki, "make_authority", slow)

    def ask() -> None:
        meet.wait(5)
        ca, certificate = identity.ensure_ca(), identity.ensure_certificate("registry")
        found.append((ca, certificate, identity.ensure_password("git", NONE)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(found) == 8
    assert all(each == found[0] for each in found)


def test_forgetting_leaves_nothing_and_may_be_done_twice(identity: Identity, folder: Path) -> None:
    first = identity.ensure_ca()
    identity.write_docker_config("builder", Secret("p"), ())
    identity.delete()
    identity.delete()
    assert not folder.exists()
    assert identity.ensure_ca() != first, "a new environment has a new authority"


def test_no_secret_shows_in_a_repr(identity: Identity) -> None:
    password = identity.ensure_password("git", NONE)
    assert password.reveal() not in f"{password} {password!r} {identity!r} {identity.list_passwords()}"


def test_a_look_makes_what_is_missing_in_memory_and_writes_nothing(identity: Identity, folder: Path) -> None:
    look = identity.for_looking()

    def ask() -> tuple[object, ...]:
        certificate, password = look.ensure_certificate("registry"), look.ensure_password("git", NONE)
        return certificate, password, look.ensure_htpasswd("u", Secret("p"))

    first, authority = ask(), look.ensure_ca()
    login = look.write_docker_config("builder", Secret("p"), ("127.0.0.1:1",)) / "config.json"
    assert look.ca_file.read_bytes() == authority.certificate
    assert "auths" in json.loads(login.read_text())
    assert not folder.exists()
    assert login.parent.parent.stat().st_mode & 0o777 == 0o700
    assert (ask(), look.ensure_ca()) == (first, authority), "one look sees the same thing twice"


def test_a_look_sees_what_was_made_meanwhile(identity: Identity, folder: Path) -> None:
    look = identity.for_looking()
    look.ensure_certificate("registry")
    made = identity.ensure_certificate("registry"), identity.ensure_password("git", NONE)
    assert (look.ensure_certificate("registry"), look.ensure_password("git", NONE)) == made
    before = contents(folder)
    identity.write_docker_config("builder", Secret("p"), ("127.0.0.1:1",))
    kept = look.write_docker_config("builder", Secret("p"), ("127.0.0.1:1",))
    assert kept == folder / "docker"
    identity.delete()
    assert look.ensure_password("git", NONE) != made[1]
    assert before
    assert not folder.exists(), "a page that is open while `down` runs brings nothing back"


def test_a_look_keeps_a_certificate_that_is_due_and_tells_on_demand_what_would_be_issued(
    identity: Identity, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pki.issue_certificate(identity.ensure_ca(), "registry", (), module._now(), days=100)
    (folder / "registry.crt").write_bytes(made.certificate)
    (folder / "registry.key").write_bytes(made.key)
    before, soon = contents(folder), module._now() + datetime.timedelta(days=80)
    monkeypatch.setattr(module, "_now", lambda: soon)
    assert identity.for_looking().ensure_certificate("registry") == made
    ahead = identity.for_looking(renews=True)
    assert ahead.ensure_certificate("registry") != made
    assert ahead.ensure_certificate("registry") == ahead.ensure_certificate("registry")
    assert contents(folder) == before
