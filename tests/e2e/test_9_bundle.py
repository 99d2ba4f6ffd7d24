"""From one file, where nothing else is: an engine and a cache of their own, in a name space without a network."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.e2e.enclosure import Enclosure
from tests.e2e.foreigners import ONE_NODE
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def file(product: Product) -> Path:
    target = product.folder / "bundle.tar"
    product.run("bundle", "--output", str(target), limit=1800)
    return target


@pytest.fixture(scope="module")
def apart(product: Product, file: Path, enclosure: Enclosure) -> Iterator[dict[str, str]]:
    """Variables of a machine on which nothing was ever built."""
    folder = product.folder / "apart"
    given = {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_STATE_HOME": str(folder / "state"),
        "INVOKE_CLUSTER_CONFIG": str(ONE_NODE),
        "INVOKE_SUPPLY": "bundle",
        "INVOKE_BUNDLE_FILE": str(file),
    }
    yield given
    product.run("down", "--purge", name=f"{product.name}-file", env=given, within=enclosure.prefix)
    assert not (folder / "cache/tekton-bootstrap").exists()


def test_the_whole_environment_comes_from_the_file(
    product: Product, apart: dict[str, str], enclosure: Enclosure
) -> None:
    name, within = f"{product.name}-file", enclosure.prefix
    answer = product.run("up", name=name, env=apart, limit=900, within=within)
    assert "23 images, from bundle.tar" in answer.out
    assert "/version answers" in product.run("test-run", name=name, env=apart, within=within).last
    assert "nothing changed" in product.run("up", name=name, env=apart, within=within).last


def test_auto_finds_the_file(product: Product, apart: dict[str, str], enclosure: Enclosure) -> None:
    given = apart | {"INVOKE_SUPPLY": "auto"}
    answer = product.run("doctor", name=f"{product.name}-other", env=given, within=enclosure.prefix, limit=60)
    assert "bundle (auto: bundle.tar has what this checkout needs)" in answer.out


def test_it_tells_what_is_in_each_image(file: Path) -> None:
    with tarfile.open(file) as tar:
        bills = {each.name: each for each in tar.getmembers() if each.name.startswith("sbom/")}
        assert len(bills) == 26
        node, manager = (
            json.loads(cast(Any, tar.extractfile(bills[f"sbom/{name}.cdx.json"])).read())
            for name in ("node", "manager")
        )
    assert {"kopf", "aiohttp", "git"} <= {each["name"] for each in manager["components"]}
    found = {each["name"] for each in node["components"]}
    assert {"k8s.io/kubernetes", "github.com/containerd/containerd/v2", "iptables"} <= found


def test_a_damaged_file_is_refused_and_touches_nothing(
    product: Product, file: Path, apart: dict[str, str], enclosure: Enclosure, tmp_path: Path
) -> None:
    name, within = f"{product.name}-none", enclosure.prefix  # out there its engine would get a bridge and rules as well
    damaged = tmp_path / "damaged.tar"
    size = file.stat().st_size
    with file.open("rb") as source, damaged.open("wb") as target:
        target.write(source.read(size // 50))
    there = apart | {"INVOKE_BUNDLE_FILE": str(damaged), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    answer = product.run("up", name=name, env=there, code=2, within=within)
    assert "it is cut off" in answer.err
    assert "Traceback" not in answer.text
    assert not list((tmp_path / "cache").rglob("*.tar"))
    product.run("down", name=name, env=there, within=within)
