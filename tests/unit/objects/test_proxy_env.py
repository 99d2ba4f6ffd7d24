"""What the cluster is told of a proxy, and of which it is told nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands import check_results
from bootstrap.commands.check_results import Finding
from bootstrap.core.constants import REPOSITORY
from bootstrap.core.model import LockedImage
from bootstrap.objects import proxy_env
from bootstrap.settings.config import Config, ProxySettings
from bootstrap.steps import manifest_catalog, poller
from tests.golden.rendered import LOCK
from tests.unit.step_world import make

PROXY = "http://proxy.example:3128"
TOLD = {
    "HTTPS_PROXY": PROXY,
    "NO_PROXY": "localhost,127.0.0.1,.svc,.cluster.local,registry.tekton.internal,.example",
}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (ProxySettings(), {}),
        (ProxySettings(exempt=(".example",)), {}),
        (ProxySettings(https=PROXY, exempt=(".example", ".svc")), TOLD),
    ],
)
def test_variables(settings: ProxySettings, told: dict[str, str]) -> None:
    assert proxy_env.make_variables(settings) == told | {name.lower(): value for name, value in told.items()}


def test_nodes_are_not_told_of_what_only_this_machine_can_use() -> None:
    assert set(proxy_env.make_node_variables(ProxySettings()).values()) == {""}
    assert proxy_env.make_node_variables(ProxySettings(http=PROXY))["HTTPS_PROXY"] == ""
    assert proxy_env.make_node_variables(ProxySettings(http=PROXY))["http_proxy"] == PROXY


@pytest.mark.parametrize(
    ("environ", "settings"),
    [
        ({}, ProxySettings()),
        ({"HTTP_PROXY": PROXY}, ProxySettings(http=PROXY)),
        ({"http_proxy": "proxy.example:3128", "HTTP_PROXY": "http://other"}, ProxySettings(http=PROXY)),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "a, .b,,*"}, ProxySettings(https=PROXY, exempt=("a", ".b"))),
        ({"NO_PROXY": "a"}, ProxySettings()),
        ({"HTTP_PROXY": "http://127.0.0.1:3128", "NO_PROXY": "a"}, ProxySettings()),
        ({"HTTP_PROXY": "http://me:hush@proxy.example"}, ProxySettings()),
        ({"HTTP_PROXY": "http://["}, ProxySettings()),
    ],
)
def test_the_machines_own_are_adopted_where_pods_can_use_them(environ: dict[str, str], settings: ProxySettings) -> None:
    found = proxy_env.adopt_variables(Config(), environ)
    assert found.proxy == settings
    assert all(found.origin(key) in environ for key in found.origins)


def test_settings_outweigh_the_machine() -> None:
    mine = Config(proxy=ProxySettings(http="http://mine", exempt=("x",)))
    assert proxy_env.adopt_variables(mine, {"HTTP_PROXY": PROXY, "NO_PROXY": "a"}).proxy == mine.proxy
    assert proxy_env.adopt_variables(mine, {"HTTPS_PROXY": PROXY}).proxy == ProxySettings("http://mine", PROXY, ("x",))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (PROXY, ""),
        ("proxy.example:3128", ""),
        ("http://localhost:1", "this machine only"),
        ("http://[::1]:1", "this machine only"),
        ("http://u@proxy", "password"),
        ("http://", "no"),
    ],
)
def test_unfit(url: str, why: str) -> None:
    assert (why in proxy_env.explain_unusable(url)) if why else proxy_env.explain_unusable(url) == ""


def test_doctor_says_what_the_cluster_is_told() -> None:
    name = "proxy of the cluster"
    assert check_results.judge_cluster_proxy(ProxySettings(), {}) == Finding("ok", name, "none")
    assert check_results.judge_cluster_proxy(ProxySettings(http=PROXY), {}) == Finding("ok", name, "proxy.example")
    lost = check_results.judge_cluster_proxy(ProxySettings(), {"https_proxy": "http://me:hush@proxy.example"})
    assert lost.level == "warn"
    assert "https_proxy: it has a password" in lost.what
    assert "hush" not in repr(lost)


def told(container: dict[str, Any]) -> bool:
    return {"name": "https_proxy", "value": PROXY} in (container.get("env") or [])


def test_who_is_told(tmp_path: Path) -> None:
    config = Config(proxy=ProxySettings(https=PROXY))
    world = make(tmp_path, config)
    for name in ("toolbox", "buildkit"):
        world.images.images[name] = LockedImage(name, f"{REPOSITORY}/{name}", "sha256:" + "c" * 64)
    tasks = {
        each["metadata"]["name"]: all(map(told, each["spec"]["steps"]))
        for each in manifest_catalog.render_pipeline(world.open())
        if each["kind"] == "Task"
    }
    wanted = {"git-clone": True, "build-image": True, "notify": True, "deploy": False}
    assert {name: tasks[name] for name in wanted} == wanted
    [buildkitd] = [
        each
        for each in manifest_catalog.make_builder_step(world.open()).objects(world.open())
        if each["kind"] == "Deployment"
    ]
    assert told(buildkitd["spec"]["template"]["spec"]["containers"][0])
    for cron in poller.render_objects(LOCK, world.project, config):
        if cron["kind"] == "CronJob":
            assert told(cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0])
