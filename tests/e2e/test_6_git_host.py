"""A repository of another git host, with a password of its own, in place of the environment's.

Its Dockerfile takes a further repository by ADD, and a file that is kept in Git LFS.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.core import constants
from bootstrap.world import World
from tests.e2e import app
from tests.e2e.docker_client import inspect
from tests.e2e.product import Product
from tests.e2e.repository import Repository
from tests.git_host import PASSWORD, USER, Bare, GitHost, git_host

pytestmark = pytest.mark.e2e
WITHIN = "ARG COMMIT=unknown\n"
TREE = "100644 blob {}\tsaid\n"
MODEL = bytes(range(256)) * 100


@pytest.fixture
def host(product: Product, world: World, tmp_path: Path) -> Iterator[GitHost]:
    """On this machine, where pods reach it: at the gateway of the environment's network."""
    network = inspect(world, "network", constants.network(product.name))
    assert network
    with git_host(tmp_path, network["IPAM"]["Config"][0]["Gateway"]) as host:
        yield host


def fill(host: GitHost, repository: Repository, work: Path) -> str:
    """The application's commit there, which builds only with the other repository and the file itself."""
    library, shop = Bare(host.folder / "library.git"), Bare(host.folder / "shop.git")
    blob = library.git("hash-object", "-w", "--stdin", text="from another repository")
    library.refs(
        {"refs/heads/main": library.git("commit-tree", library.git("mktree", text=TREE.format(blob)), "-m", "A")}
    )
    oid = hashlib.sha256(MODEL).hexdigest()
    host.objects[oid] = MODEL
    Bare.run("clone", "--quiet", "--branch=main", str(repository.folder), str(work))
    (work / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (work / "model.bin").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(MODEL)}\n"
    )
    text = (work / "Dockerfile").read_text()
    checks = (
        f"ADD {host.url('library')}#main /library\nCOPY model.bin /model.bin\n"
        f'RUN grep -q "from another" /library/said && test "$(wc -c < /model.bin)" = {len(MODEL)}\n'
    )
    (work / "Dockerfile").write_text(text.replace(WITHIN, WITHIN + checks))
    Bare.run("-C", str(work), "add", "--all")
    Bare.run("-C", str(work), "commit", "--quiet", "--message=Only there")
    shop.git("fetch", "--quiet", str(work), "main:main")
    return shop.git("rev-parse", "main")


def test_it_is_cloned_with_its_password_built_and_serves(
    product: Product, world: World, repository: Repository, host: GitHost, tmp_path: Path
) -> None:
    commit = fill(host, repository, tmp_path / "work")
    settings = {
        "INVOKE_GIT_URL": host.url("locked/shop"),
        "INVOKE_GIT_USERNAME": USER,
        "INVOKE_GIT_PASSWORD": PASSWORD,
    }
    product.run("up", env=settings)
    answer = product.run("test-run", env=settings)
    assert f"/version answers {commit[:7]}" in answer.last
    assert app.version(product) == commit
    assert any(path.startswith("/locked/shop.git") for path in host.asked)
    assert PASSWORD not in answer.text
    wrong = settings | {"INVOKE_GIT_PASSWORD": "another"}
    product.run("up", env=wrong)
    refused = product.run("test-run", env=wrong, code=1)
    assert "git-clone" in refused.err
    assert app.version(product) == commit
    product.run("up")
