"""From one file, where nothing else is: an engine and a cache of their own, and no host in reach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.product import Product

pytestmark = pytest.mark.e2e
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def file(product: Product) -> Path:
    target = product.folder / "bundle.tar"
    product.run("bundle", "--output", str(target), limit=1800)
    return target


@pytest.fixture(scope="module")
def apart(product: Product, file: Path) -> Iterator[dict[str, str]]:
    """Variables of a machine on which nothing was ever built, and from which no registry of packages answers."""
    folder = product.folder / "apart"
    given = {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_STATE_HOME": str(folder / "state"),
        "INVOKE_SUPPLY": "bundle",
        "INVOKE_BUNDLE_FILE": str(file),
        "GOPROXY": "off",
        "NO_PROXY": "127.0.0.1,localhost",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE),
    }
    yield given
    product.run("down", "--purge", name=f"{product.name}-file", env=given)
    assert not (folder / "cache/tekton-bootstrap").exists()


def test_the_whole_environment_comes_from_the_file(product: Product, apart: dict[str, str]) -> None:
    name = f"{product.name}-file"
    answer = product.run("up", name=name, env=apart, limit=900)
    assert "22 images, from bundle.tar" in answer.out
    assert "/version answers" in product.run("test-run", name=name, env=apart).last
    assert "nothing changed" in product.run("up", name=name, env=apart).last


def test_a_damaged_file_is_refused_and_touches_nothing(
    product: Product, file: Path, apart: dict[str, str], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.tar"
    size = file.stat().st_size
    with file.open("rb") as source, damaged.open("wb") as target:
        target.write(source.read(size // 50))
    there = apart | {"INVOKE_BUNDLE_FILE": str(damaged), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    answer = product.run("up", name=f"{product.name}-none", env=there, code=2)
    assert "it is cut off" in answer.err
    assert "Traceback" not in answer.text
    assert not list((tmp_path / "cache").rglob("*.tar"))
    product.run("down", name=f"{product.name}-none", env=there)
