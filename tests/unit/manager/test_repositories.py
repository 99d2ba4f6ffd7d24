"""Whether what differs between two commits concerns an application, and what the central one holds: of real ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.incluster import poll
from bootstrap.incluster.application_source import Source
from bootstrap.incluster.applications import Application, read_application
from bootstrap.incluster.git_login import GitLogin, LoginFault
from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.poll import RepositoryUnreadable
from bootstrap.manager import repositories as repositories_module
from bootstrap.manager.repositories import MAX_FILE_BYTES, Repositories
from tests.central_repository import push
from tests.git_host import PASSWORD, USER, Bare, GitHost, git_host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    with git_host(tmp_path) as running:
        yield running


@pytest.fixture
def repositories() -> Repositories:
    return Repositories({"PATH": os.environ["PATH"]}, refuse)


def refuse(application: Application) -> GitLogin:
    raise AssertionError(f"{application.name} names no login")


def declare(url: str, *paths: str, login: str = "") -> Application:
    spec: dict[str, Any] = {"repository": {"url": url, "login": login}, "paths": [*paths]}
    return read_application({"metadata": {"name": "orders"}, "spec": spec}, "registry:5000")


def commit(bare: Bare, files: dict[str, str]) -> str:
    """A commit without parents that branch main is then at. files: name in the top folder, or FOLDER/NAME -> text."""
    tops: dict[str, list[str]] = {}
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        tops.setdefault(folder, []).append(
            f"100644 blob {bare.git('hash-object', '-w', '--stdin', text=text)}\t{name}\n"
        )
    entries = tops.pop("", [])
    entries += [f"040000 tree {bare.git('mktree', text=''.join(each))}\t{name}\n" for name, each in tops.items()]
    made = bare.git("commit-tree", bare.git("mktree", text="".join(entries)), "-m", "A change")
    bare.refs({"refs/heads/main": made})
    return made


@pytest.mark.parametrize("filters", ["true", "false"])
@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_only_what_is_below_its_paths_concerns_it(
    host: GitHost, repositories: Repositories, filters: str, object_format: str
) -> None:
    bare = Bare(host.folder / "shop.git", object_format=object_format)
    bare.git("config", "uploadpack.allowFilter", filters)
    first = commit(bare, {"orders/a": "1", "invoices/a": "1", "readme": "1"})
    second = commit(bare, {"orders/a": "1", "invoices/a": "2", "readme": "1"})
    orders, invoices = declare(host.url("shop"), "orders/**"), declare(host.url("shop"), "invoices", "libs")
    assert not repositories.concerns(orders, first, second)
    assert repositories.concerns(invoices, first, second)
    assert not repositories.concerns(invoices, second, second)


def test_one_without_paths_is_not_asked(host: GitHost, repositories: Repositories) -> None:
    assert repositories.concerns(declare(host.url("shop")), "a" * 40, "b" * 40)
    assert repositories.concerns(declare(host.url("shop"), "orders/**"), "", "b" * 40)
    assert host.asked == []


def test_where_it_cannot_be_told_it_does(
    host: GitHost, repositories: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Bare(host.folder / "shop.git")
    first = commit(bare, {f"invoices/{number:04}": "1" for number in range(50)})
    second = commit(bare, {"invoices/a": "2"})
    orders = declare(host.url("shop"), "orders/**")
    assert not repositories.concerns(orders, first, second)
    assert repositories.concerns(orders, "a" * 40, second), "a commit that is gone"
    assert repositories.concerns(declare(host.url("down/shop"), "orders/**"), first, second)
    monkeypatch.setattr(poll, "CHANGED_BYTES", 100)
    assert repositories.concerns(orders, first, second)
    monkeypatch.setattr(poll, "CHANGED_BYTES", 250_000)
    monkeypatch.setattr(poll, "FETCHED_KIB", 0)
    assert repositories.concerns(orders, first, second)


# -- a login of its own ------------------------------------------------------------------------------


def test_a_password_of_its_own_opens_it_and_that_of_the_settings_does_not(host: GitHost, tmp_path: Path) -> None:
    commit_id = commit(Bare(host.folder / "shop.git"), {"a": "1"})
    logins, keys = tmp_path / "logins", tmp_path / "keys"
    keys.mkdir()
    logins.write_text(f'[credential "{host.address}"]\n\thelper =\n\thelper = "!f() {{ echo password=wrong; }}; f"\n')
    environ = {"PATH": os.environ["PATH"], "LOGINS": str(logins), "CREDENTIALS": str(tmp_path), "KEYS": str(keys)}
    asked = []

    def read(application: Application) -> GitLogin:
        asked.append(application.login)
        return GitLogin({"username": USER, "password": PASSWORD})

    repositories = Repositories(environ, read)
    found = declare(host.url("locked/shop"), login="sales-git")
    assert repositories.read_heads(found) == ({"main": commit_id}, {})
    assert asked == ["sales-git"]
    assert [*keys.iterdir()] == [], "it is there while git runs, and no longer"
    with pytest.raises(poll.RepositoryUnreadable):
        repositories.read_heads(declare(host.url("locked/shop")))


@pytest.mark.parametrize(
    ("raised", "why"),
    [
        (
            LoginFault("Secret sales-git is not there", "kubectl create"),
            "Secret sales-git is not there: kubectl create",
        ),
        (LoginFault("known_hosts is missing"), "known_hosts is missing"),
        (ApiFailure(500, "HTTP 500 from the API"), "Secret sales-git: HTTP 500 from the API"),
    ],
)
def test_a_login_that_is_none_is_why_it_cannot_be_read(raised: Exception, why: str) -> None:
    def read(_: Application) -> GitLogin:
        raise raised

    repositories = Repositories({"PATH": os.environ["PATH"]}, read)
    found = declare("ssh://git@git.test/a", "orders", login="sales-git")
    with pytest.raises(poll.RepositoryUnreadable) as caught:
        repositories.read_heads(found)
    assert str(caught.value) == why
    assert repositories.concerns(found, "a" * 40, "b" * 40), "where it cannot be told it does"


# -- the central repository --------------------------------------------------------------------------


@pytest.fixture
def platform(host: GitHost) -> tuple[Bare, Source]:
    """A central repository, and where it is."""
    return Bare(host.folder / "platform.git"), Source(host.url("platform"), "main", "apps")


def test_the_head_of_a_branch_is_read(platform: tuple[Bare, Source], repositories: Repositories) -> None:
    bare, source = platform
    assert repositories.read_head(source) == "", "nothing was pushed yet"
    made = push(bare, {"a": "1"})
    assert repositories.read_head(source) == made
    assert repositories.read_head(replace(source, branch="ma")) == ""


@pytest.mark.parametrize("filters", ["true", "false"])
@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_files_of_a_folder_are_read(
    host: GitHost, repositories: Repositories, filters: str, object_format: str
) -> None:
    bare = Bare(host.folder / "p.git", object_format=object_format)
    bare.git("config", "uploadpack.allowFilter", filters)
    source = Source(host.url("p"), "main", "apps")
    files = {
        "apps/a.yaml": "a: 1\n",
        "apps/same.yml": "a: 1\n",
        "apps/sales/späte.yaml": "ü",
        "apps/large.yaml": "x" * (MAX_FILE_BYTES + 1),
        "apps/just.yaml": "x" * MAX_FILE_BYTES,
        "apps/README.md": "text",
        "apps/.hidden/b.yaml": "x",
        "apps/.c.yaml": "x",
        "apps2/d.yaml": "x",
        "e.yaml": "e",
        "apps/empty.yaml": "",
    }
    made = push(bare, files, links={"apps/link.yaml": "a.yaml", "apps/link": "a.yaml"})
    found = repositories.read_folder(source, made)
    assert {key: len(value) for key, value in found.contents.items()} == {
        "apps/a.yaml": 5,
        "apps/same.yml": 5,
        "apps/sales/späte.yaml": 2,
        "apps/just.yaml": MAX_FILE_BYTES,
        "apps/empty.yaml": 0,
    }
    assert found.contents["apps/sales/späte.yaml"] == "ü".encode()
    assert found.others == {
        "apps/large.yaml": "it has more than 64 KiB",
        "apps/link.yaml": "it is a symbolic link; expected a file",
    }
    assert found.is_there
    assert "e.yaml" in repositories.read_folder(replace(source, path=""), made).contents
    assert not repositories.read_folder(replace(source, path="none"), made).is_there
    assert not repositories.read_folder(replace(source, path="e.yaml"), made).is_there


def test_a_submodule_is_told(platform: tuple[Bare, Source], repositories: Repositories) -> None:
    bare, source = platform
    bare.git("read-tree", "--empty")
    bare.git("update-index", "--add", "--cacheinfo", f"160000,{'a' * 40},apps/other")
    made = bare.git("commit-tree", bare.git("write-tree"), "-m", "A change")
    bare.refs({"refs/heads/main": made})
    assert repositories.read_folder(source, made).others == {
        "apps/other": "it is a submodule, whose files are not read"
    }


def test_too_much_is_not_read(
    platform: tuple[Bare, Source], repositories: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare, source = platform
    made = push(bare, {f"apps/{number}.yaml": f"{number}" * 50 for number in range(1, 8)})
    monkeypatch.setattr(repositories_module, "MAX_FILES", 6)
    with pytest.raises(RepositoryUnreadable, match="more than 6 files"):
        repositories.read_folder(source, made)
    monkeypatch.setattr(repositories_module, "MAX_FILES", 7)
    monkeypatch.setattr(repositories_module, "MAX_BYTES", 349)
    with pytest.raises(RepositoryUnreadable, match="its files have more than"):
        repositories.read_folder(source, made)
    monkeypatch.setattr(repositories_module, "MAX_BYTES", 350)
    assert len(repositories.read_folder(source, made).contents) == 7


def test_what_cannot_be_read_is_told(host: GitHost, repositories: Repositories) -> None:
    source = Source(host.url("down/platform"), "main", "apps")
    with pytest.raises(RepositoryUnreadable):
        repositories.read_head(source)
    with pytest.raises(RepositoryUnreadable):
        repositories.read_folder(source, "a" * 40)
