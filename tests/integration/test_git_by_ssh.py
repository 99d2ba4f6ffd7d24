"""Repositories by a real sshd: asked as the manager asks them, and cloned by the script of the task."""

from __future__ import annotations

import base64
import getpass
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootstrap.core.paths import PROJECT
from bootstrap.incluster.applications import Application, read_application
from bootstrap.incluster.git_login import SSH_AUTH, GitLogin, LoginFault, read_login
from bootstrap.incluster.poll import RepositoryUnreadable
from bootstrap.manager.repositories import Repositories
from bootstrap.objects.manifests import load
from tests import sshd
from tests.git_host import Bare

pytestmark = pytest.mark.integration


@dataclass
class Host:
    server: sshd.Sshd
    bare: Bare
    folder: Path

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.server.port}{self.bare.folder}"

    def declare(self, *paths: str) -> Application:
        spec = {"repository": {"url": self.url, "login": "orders-git"}, "paths": [*paths]}
        return read_application({"metadata": {"name": "orders"}, "spec": spec}, "registry:5000")

    def read(self, *, key: str = "user", known: str | None = None) -> GitLogin:
        files = {
            "ssh-privatekey": (self.server.folder / key).read_text(),
            "known_hosts": known or self.server.known.read_text(),
        }
        return GitLogin(files)

    def ask(self, login: GitLogin) -> Repositories:
        keys = self.folder / "keys"
        keys.mkdir(exist_ok=True)
        return Repositories({"PATH": os.environ["PATH"], "KEYS": str(keys)}, lambda _: login)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("ssh")
    with sshd.serving(folder / "sshd", AcceptEnv="GIT_PROTOCOL") as server:
        yield Host(server, Bare(folder / "repositories/orders.git"), folder)


def commit(bare: Bare, **files: str) -> str:
    """A commit of files in folders of these names, that branch main is then at."""
    entries = ""
    for name, text in files.items():
        blob = bare.git("hash-object", "-w", "--stdin", text=text)
        tree = bare.git("mktree", text=f"100644 blob {blob}\ta\n")
        entries += f"040000 tree {tree}\t{name}\n"
    made = bare.git("commit-tree", bare.git("mktree", text=entries), "-m", "A change")
    bare.refs({"refs/heads/main": made})
    return made


def test_the_manager_reads_heads_and_what_changed(host: Host) -> None:
    first, second = commit(host.bare, orders="1", stock="1"), commit(host.bare, orders="1", stock="2")
    repositories = host.ask(host.read())
    assert repositories.read_heads(host.declare()) == ({"main": second}, {})
    assert not repositories.concerns(host.declare("orders"), first, second)
    assert repositories.concerns(host.declare("stock"), first, second)
    assert [*(host.folder / "keys").iterdir()] == [], "nothing is left of the key"


def test_a_host_that_is_not_the_one_that_is_pinned_gets_nothing(host: Host) -> None:
    stranger = (host.server.folder / "stranger.pub").read_text()
    known = f"[127.0.0.1]:{host.server.port} {stranger}"
    with pytest.raises(RepositoryUnreadable, match="Host key verification failed"):
        host.ask(host.read(known=known)).read_heads(host.declare())


def test_a_key_that_is_not_let_in_is_told(host: Host) -> None:
    with pytest.raises(RepositoryUnreadable, match=r"Permission denied \(publickey\)"):
        host.ask(host.read(key="stranger")).read_heads(host.declare())


def test_a_repository_that_is_not_there_is_told(host: Host) -> None:
    gone = Host(host.server, Bare(host.folder / "repositories/gone.git"), host.folder)
    gone.bare.folder.rename(host.folder / "gone")
    with pytest.raises(RepositoryUnreadable, match="does not appear to be a git repository"):
        host.ask(host.read()).read_heads(gone.declare())


def test_its_files_are_a_login_as_a_secret_has_them(host: Host) -> None:
    def encode(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    data = {"ssh-privatekey": encode(host.server.folder / "user"), "known_hosts": encode(host.server.known)}
    secret = {"type": SSH_AUTH, "metadata": {"name": "orders-git"}, "data": data}
    head = commit(host.bare, orders="3")
    login = read_login(secret, "orders-git", host.url)
    assert host.ask(login).read_heads(host.declare()) == ({"main": head}, {})
    with pytest.raises(LoginFault, match=r"has no key of 127\.0\.0\.1 at port 1"):
        read_login(secret, "orders-git", host.url.replace(str(host.server.port), "1"))


@pytest.mark.parametrize("pinned", [True, False])
def test_the_task_clones_with_the_key_and_from_the_pinned_host_alone(host: Host, tmp_path: Path, pinned: bool) -> None:
    head = commit(host.bare, orders="4")
    [task] = load(PROJECT / "manifests/pipeline/task-git-clone.yaml")
    script = task["spec"]["steps"][0]["args"][0]
    given, kept = tmp_path / "given", tmp_path / "kept"
    for folder in (given, kept, tmp_path / "run"):
        folder.mkdir()
    key = "host" if pinned else "stranger"
    (given / "ssh-privatekey").write_text((host.server.folder / "user").read_text().rstrip())
    (given / "known_hosts").write_text(
        f"[127.0.0.1]:{host.server.port} {(host.server.folder / f'{key}.pub').read_text()}"
    )
    script = script.replace("/tmp/", f"{tmp_path}/").replace("/etc/git-logins", str(tmp_path / "none"))  # noqa: S108
    for path, folder in {"/etc/repository-login": given, "/run/repository-login": kept}.items():
        script = script.replace(path, str(folder))
    results = {f"RESULT_{each}": str(tmp_path / each) for each in ("COMMIT", "AUTHOR", "BRANCH", "MESSAGE")}
    source = str(tmp_path / "run/source")
    environ = {"REPO": host.url, "REVISION": "main", "RUN": "", "LOGIN": "orders-git", "DIRECTORY": source}
    base = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C"}
    argv = ["sh", "-euc", script]
    ended = subprocess.run(
        argv,
        env=base | environ | results,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = ended.stdout + ended.stderr
    assert "PRIVATE" not in told
    if not pinned:
        assert ended.returncode == 1
        assert "Host key verification failed" in told
        return
    assert ended.returncode == 0, told
    assert (tmp_path / "COMMIT").read_text() == head
    assert (tmp_path / "run/source/orders/a").read_text() == "4"
    assert stat.S_IMODE((kept / "ssh-privatekey").stat().st_mode) == 0o400
