"""One environment for the whole session, made by the real command line, and removed however the session ends."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core.paths import PROJECT
from bootstrap.devtools.lanes import LOGS
from bootstrap.world import World
from tests.e2e import foreigners, receiver
from tests.e2e.argv import ArgvWatch
from tests.e2e.bringup import BringUp, bring_up
from tests.e2e.enclosure import Enclosure
from tests.e2e.footprint import Footprint, footprint, leftovers
from tests.e2e.machine_load import Load, Reading, compute_load, describe_slowest, read_load
from tests.e2e.mirrored import Filled, Kept, variables
from tests.e2e.product import Product
from tests.e2e.repository import Repository
from tests.integration import registries

HERE = Path(__file__).parent
EVIDENCE = PROJECT / LOGS / "evidence"
PRODUCT = pytest.StashKey[Product]()
LOADS = pytest.StashKey[list[tuple[str, Load]]]()
BEGUN = pytest.StashKey[Reading]()
LONG = 60.0
"""Seconds of a test that is told at once."""
SLOWEST = 20
"""As many tests are told with what the machine did while they ran."""
TOLD = pytest.StashKey[set[int]]()
"""Failures whose evidence is kept: what a fixture of many tests raises comes once for each of them."""
USERS_KUBECONFIG = Path("~/.kube/config").expanduser()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--e2e"):
        return
    skip = pytest.mark.skip(reason="a whole environment is made only with --e2e; `invoke test` gives it")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Product]:
    product = Product(f"e2e-{secrets.token_hex(2)}", tmp_path_factory.mktemp("e2e"))
    pytestconfig.stash[PRODUCT] = product
    signal.signal(signal.SIGINT, signal.default_int_handler)  # commands would inherit that it is ignored
    before = signal.signal(signal.SIGTERM, _abandoning(product))
    try:
        yield product
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if pytestconfig.getoption("--keep"):
            print(f"\nkept: KUBECONFIG={product.kubeconfig}; to remove it: invoke down --name {product.name}")  # noqa: T201
        else:
            _remove(product)
        signal.signal(signal.SIGTERM, before)


def _abandoning(product: Product) -> Callable[..., None]:
    def handle(*_: Any) -> None:
        product.abandon()
        raise KeyboardInterrupt

    return handle


def _remove(product: Product) -> None:
    """Also what a failed test left."""
    world, before = product.world(), Footprint((), ())
    with contextlib.suppress(Exception):  # nothing may keep `down` from running
        before = footprint(world)
    answer = product.remove()
    assert answer.code == 0, answer
    assert leftovers(product.world(), before, (product.kubeconfig, USERS_KUBECONFIG)) == []


@pytest.fixture(scope="module")
def enclosure() -> Iterator[Enclosure]:
    with Enclosure() as enclosure:
        assert "unreachable" in enclosure.run("ip", "route", "get", "192.0.2.1").stderr
        yield enclosure


@pytest.fixture(scope="session")
def kept(product: Product) -> Iterator[Kept]:
    """A mirror that is empty until `filled`, which whatever test may be the first to ask for."""
    with registries.secured(product.folder / "here") as server:
        yield Kept(variables(server), server.data)


@pytest.fixture(scope="session")
def filled(product: Product, kept: Kept) -> Filled:
    plan = product.run("mirror", "--plan", env=kept.given)
    answer = product.run("mirror", "--json", env=kept.given, limit=900)
    return Filled(kept.given, kept.data, plan.text, json.loads(answer.last))


@pytest.fixture(scope="module")
def foreign(product: Product) -> Iterator[str]:
    """The name of a cluster that is not ours. Who uses it leaves nothing of an environment in it, and proves that.

    Not one for all modules: a kubelet notes which images it has pulled with a login, and from then on has no pod run
    them, under any name, that lacks it.
    """
    name = f"{product.name}-theirs"
    with foreigners.cluster(product, name):
        yield name


@pytest.fixture(scope="session")
def argv(product: Product) -> Iterator[ArgvWatch]:
    """Every command line that was seen on this machine while the environment was made and used."""
    with ArgvWatch() as watch:
        yield watch


@pytest.fixture(scope="session")
def up(product: Product, argv: ArgvWatch) -> BringUp:
    """From nothing to ready."""
    return bring_up(product)


@pytest.fixture(scope="session")
def world(product: Product, up: BringUp) -> World:
    """The environment, to look at; with a receiver for its notifications."""
    world = product.world()
    receiver.install(world)
    return world


@pytest.fixture(scope="session")
def repository(product: Product, world: World) -> Repository:
    """A clone of the environment's repository on this machine."""
    folder = product.folder / "clone"
    product.run("clone", "--into", str(folder))
    return Repository(folder, product.environ)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    before = read_load()
    item.config.stash.setdefault(BEGUN, before)
    done = yield
    load = compute_load(before, read_load())
    item.config.stash.setdefault(LOADS, []).append((item.nodeid, load))
    if load.seconds > LONG:
        reporter: Any = item.config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line(f"\n{load}")  # at once: who ends the session early sees it as well
    return done


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Where the time went, and whether the machine had other things to do."""
    if config.getoption("--e2e") and BEGUN in config.stash:
        terminalreporter.section("the machine meanwhile")
        terminalreporter.line(f"{compute_load(config.stash[BEGUN], read_load())}  all tests")
        loads: list[tuple[str, Load]] = config.stash.get(LOADS, [])
        for line in describe_slowest(loads, SLOWEST):
            terminalreporter.line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """The last commands and what they said, below a test that failed; and evidence of what is up."""
    report = yield
    product = item.config.stash.get(PRODUCT, None)
    if report.failed and product is not None:
        report.sections += [("commands", "\n".join(str(answer)[-4000:] for answer in product.answers[-3:]))]
        told = item.config.stash.setdefault(TOLD, set())
        if call.excinfo and id(call.excinfo.value) not in told:
            told.add(id(call.excinfo.value))
            folder = EVIDENCE / re.sub(r"[^\w.-]+", "_", f"{item.path.stem}.{item.name}")
            product.keep_evidence(folder)
            report.sections += [("evidence", f"kept in {folder}")]
    return report
