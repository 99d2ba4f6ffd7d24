"""Into a registry with TLS and a password, and an environment from it, where nothing else can be reached."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bootstrap.core.paths import PROJECT
from tests.e2e.enclosure import Enclosure
from tests.e2e.foreigners import ONE_NODE
from tests.e2e.mirrored import FOLDER, Filled, Kept, variables
from tests.e2e.product import Product
from tests.integration import registries

pytestmark = pytest.mark.e2e
PURGE = """
import os
from bootstrap.cli.dispatch import make_world
from bootstrap.settings.config import Config
from bootstrap.core.paths import Paths
from bootstrap.world.terminal import TerminalReport

make_world(Config(), Paths.of("any", os.environ), TerminalReport()).engine.purge()
"""


@pytest.fixture(scope="module")
def apart(product: Product, filled: Filled, enclosure: Enclosure) -> Iterator[dict[str, str]]:
    """Another machine's engine, beside which the registry is all there is."""
    name, within = f"{product.name}-mirrored", enclosure.prefix
    with registries.secured(product.folder / "there", filled.data, within) as server:
        state = {"XDG_STATE_HOME": str(product.folder / "mirrored"), "INVOKE_REGISTRY_PASSWORD": "", "GOPROXY": "off"}
        given = variables(server) | state | {"INVOKE_SUPPLY": "auto", "INVOKE_CLUSTER_CONFIG": str(ONE_NODE)}
        yield given
        product.run("down", name=name, env=given, within=within)
    # Not `down --purge`: its cache is everybody's.
    # Inside, for the engine outside may have the same addresses, and so the same packet rules.
    words = [*within, sys.executable, "-c", PURGE]
    subprocess.run(words, env={**os.environ, **given}, cwd=PROJECT, check=True, timeout=180)


def test_a_mirror_is_planned_and_nothing_moves(filled: Filled) -> None:
    assert "26 of 26 to push" in filled.plan
    assert "MB/s, measured now" in filled.plan
    assert registries.PASSWORD not in filled.plan
    assert filled.said["pushed"] == 26, "the plan has pushed nothing"


def test_a_mirror_is_filled_once_and_checked(product: Product, filled: Filled) -> None:
    assert filled.said["images"] == filled.said["pushed"] == 26
    again = json.loads(product.run("mirror", "--json", env=filled.given).last)
    assert again["pushed"] == 0
    assert "each as it was pushed" in product.run("mirror", "--check", env=filled.given).last


def test_a_wrong_password_is_explained(product: Product, kept: Kept) -> None:
    answer = product.run("mirror", env=kept.given | {"INVOKE_MIRROR_PASSWORD": "another-one"}, code=3)
    assert "it wants a login, or another one" in answer.err
    assert "another-one" not in answer.text


def test_tektons_manifests_name_the_mirror_after_it(product: Product, kept: Kept) -> None:
    source, destination = product.folder / "manifests", product.folder / "rewritten"
    words = ("--download", "--sync", "--source", str(source), "--destination", str(destination))
    product.run("mirror", *words, env=kept.given, limit=900)
    rewritten = "".join(file.read_text() for file in destination.iterdir())
    assert "image.local" in "".join(file.read_text() for file in source.iterdir())
    assert "image.local" not in rewritten
    assert rewritten.count(f"{kept.given['INVOKE_MIRROR_REGISTRY']}/{FOLDER}/") >= 8
    checked = product.run("mirror", "--check", "--destination", str(destination), env=kept.given)
    assert "by its digest" in checked.last


def test_a_machine_that_reaches_nothing_else_gets_all_images_from_the_mirror(
    product: Product, apart: dict[str, str], enclosure: Enclosure
) -> None:
    """What runs in it then is the same as in a cluster elsewhere, which is brought up whole from the same mirror."""
    name, within = f"{product.name}-mirrored", enclosure.prefix
    with product.running("up", name=name, env=apart, within=within) as command:
        command.until_said("ok   preload", limit=600)
        command.signal(signal.SIGTERM)
        answer = command.end(60)
    assert f"supply mirror (auto: {apart['INVOKE_MIRROR_REGISTRY']} has what this checkout needs" in answer.out
    assert "23 images, from 127.0.0.1:" in answer.out
    status = product.run("status", "--json", name=name, env=apart, within=within, code=1)
    verdicts = {step["name"]: step["verdict"] for step in json.loads(status.last)["steps"]}
    assert {verdicts[step] for step in ("engine", "images", "registry", "cluster", "preload")} == {"ready"}
