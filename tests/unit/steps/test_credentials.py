"""The secrets in the cluster: what they say, and that only ours are ever touched."""

from __future__ import annotations

import copy
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.core import constants, pki
from bootstrap.core.model import Failed, Object, Pending, Ready, Secret, Verdict
from bootstrap.core.paths import PRODUCT
from bootstrap.objects.manifests import is_ours
from bootstrap.settings.config import Config, GitSettings, NotifySettings
from bootstrap.steps.credentials import BUILDKIT, CredentialsStep, is_current, make_credentials
from bootstrap.steps.engine import EngineStep
from bootstrap.steps.images import ImagesStep
from bootstrap.world.environment_store import _now
from tests.unit.step_world import StepWorld, make

STEP = CredentialsStep()
READY = Ready("git-auth, docker-auth, buildkit (mutual TLS)")


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    return make(tmp_path)


@pytest.fixture
def applied(world: StepWorld) -> StepWorld:
    STEP.apply(world.open())
    return world


def check(world: StepWorld) -> Verdict:
    return STEP.check(world.open())


def data(world: StepWorld, name: str, namespace: str = constants.RUNS) -> dict[str, str]:
    found = world.kube.objects["Secret", namespace, name]
    return {key: b64decode(value).decode() for key, value in found["data"].items()}


def notes(world: StepWorld, name: str) -> Object:
    found: Object = world.kube.objects["Secret", constants.RUNS, name]["metadata"].get("annotations", {})
    return found


def test_they_are_made_once(world: StepWorld) -> None:
    assert check(world) == Pending("git-auth is missing or has changed")
    STEP.apply(world.open())
    assert check(world) == READY
    before = copy.deepcopy(world.kube.objects)
    STEP.apply(world.open())
    assert world.kube.objects == before


def test_all_carry_our_label_and_no_digest_of_a_password(applied: StepWorld) -> None:
    for found in applied.kube.objects.values():
        assert is_ours(found)
        assert "digest" not in str(found["metadata"].get("annotations", {}))


def test_tekton_is_told_where_which_login_belongs(applied: StepWorld) -> None:
    assert applied.kube.objects["Secret", constants.RUNS, "git-auth"]["type"] == "kubernetes.io/basic-auth"
    assert notes(applied, "git-auth") == {"tekton.dev/git-0": "http://git.git.svc.cluster.local"}
    assert notes(applied, "docker-auth") == {"tekton.dev/docker-0": "https://registry.tekton.internal:5000"}


def test_server_and_client_agree(applied: StepWorld) -> None:
    assert data(applied, "git-auth") == data(applied, "git-server", constants.GIT)
    assert data(applied, "docker-auth") == {
        "username": "builder",
        "password": applied.identity.ensure_password("registry", Secret("")).reveal(),
    }
    server, client = data(applied, "buildkit-server", constants.BUILD), data(applied, "buildkit-client")
    assert server["ca.crt"] == client["ca.crt"]
    assert server["tls.key"] != client["tls.key"]
    pair = pki.KeyPair(server["tls.crt"].encode(), server["tls.key"].encode())
    assert pki.is_current(pair, server["ca.crt"].encode(), (BUILDKIT,), _now())


def test_who_sends_webhooks_and_who_checks_them_share_a_secret(applied: StepWorld) -> None:
    wanted = {"secret": applied.identity.ensure_password("webhook", Secret("")).reveal()}
    assert data(applied, "webhook") == data(applied, "webhook", constants.GIT) == wanted


def test_a_repository_elsewhere_gets_its_own_login_and_the_server_keeps_its_own(world: StepWorld) -> None:
    git = GitSettings(url="https://github.com/you/app.git", username="you", password=Secret("token"))
    world.config = Config(git=git)
    STEP.apply(world.open())
    assert data(world, "git-auth") == {"username": "you", "password": "token"}
    assert notes(world, "git-auth") == {"tekton.dev/git-0": "https://github.com"}
    assert data(world, "git-server", constants.GIT)["password"] != "token"


def test_further_logins_are_as_git_reads_them(world: StepWorld) -> None:
    STEP.apply(world.open())
    assert data(world, "git-logins") == {"config": ""}, "there without one as well: steps mount it"
    world.config = Config(git=GitSettings(logins=Secret("https://a:b@git.test/x")))
    assert check(world) == Pending("git-logins is missing or has changed")
    STEP.apply(world.open())
    found = data(world, "git-logins")
    assert found["0"] == "username=a\npassword=b\n"
    assert '[credential "https://git.test/x.git"]' in found["config"]


def test_a_public_repository_needs_no_login(world: StepWorld) -> None:
    world.config = Config(git=GitSettings(url="https://github.com/you/app.git"))
    STEP.apply(world.open())
    assert notes(world, "git-auth") == {}


def test_where_to_notify(world: StepWorld) -> None:
    world.config = Config(notify=NotifySettings(kind="generic", url=Secret("https://chat/hook/t0ken")))
    STEP.apply(world.open())
    assert data(world, "notify") == {"kind": "generic", "url": "https://chat/hook/t0ken"}


def test_a_changed_password_and_a_deleted_secret_are_seen_and_applied(applied: StepWorld) -> None:
    applied.config = replace(applied.config, git=replace(applied.config.git, password=Secret("new")))
    assert check(applied) == Pending("git-auth is missing or has changed")
    STEP.apply(applied.open())
    assert check(applied) == READY
    assert data(applied, "git-server", constants.GIT)["password"] == "new"
    del applied.kube.objects["Secret", constants.RUNS, "buildkit-client"]
    assert check(applied) == Pending("buildkit-client is missing or has changed")
    applied.kube.objects["ConfigMap", constants.BUILD, "environment-ca"]["data"] = {"ca.crt": "edited"}
    STEP.apply(applied.open())
    assert check(applied) == READY


def theirs(world: StepWorld) -> Object:
    found: Object = {
        "kind": "Secret",
        "metadata": {"name": "docker-auth", "namespace": constants.RUNS},
        "data": {"password": "dGhlaXJz"},
    }
    world.kube.put(found)
    return copy.deepcopy(found)


def test_a_secret_of_somebody_else_is_left_alone(world: StepWorld) -> None:
    before = theirs(world)
    STEP.apply(world.open())
    verdict = check(world)
    assert isinstance(verdict, Failed)
    assert "Secret cicd/docker-auth" in verdict.why
    assert verdict.hint == "kubectl delete secret --namespace cicd docker-auth"
    STEP.undo(world.open())
    assert list(world.kube.objects.values()) == [before]


def test_undo_takes_all_of_them_and_may_be_done_twice(applied: StepWorld) -> None:
    STEP.undo(applied.open())
    STEP.undo(applied.open())
    assert applied.kube.objects == {}


def test_labels_and_defaults_of_the_cluster_are_no_difference(world: StepWorld) -> None:
    wanted = make_credentials(world.open())[0]
    live = copy.deepcopy(wanted)
    live["metadata"] |= {"uid": "1", "annotations": {**live["metadata"]["annotations"], "theirs": "too"}}
    assert is_current(live, wanted)
    live["metadata"]["annotations"] = None
    assert not is_current(live, wanted)
    assert not is_current(None, wanted)


def by(manager: str, *keys: str) -> Object:
    return {"manager": manager, "operation": "Apply", "fieldsV1": {"f:data": {f"f:{key}": {} for key in keys}}}


def test_a_key_that_somebody_added_is_left_alone_and_one_of_ours_goes(world: StepWorld) -> None:
    """Server-side apply leaves theirs, so that `up` waited for ever for it to go."""
    wanted = make_credentials(world.open())[0]
    live = copy.deepcopy(wanted)
    live["data"]["theirs"] = "eA=="
    live["metadata"]["managedFields"] = [by(PRODUCT, *wanted["data"]), by("kubectl-patch", "theirs")]
    assert is_current(live, wanted)
    live["metadata"]["managedFields"] = [by(PRODUCT, *wanted["data"], "theirs")]
    assert not is_current(live, wanted), "one that we no longer want"
    live["data"] = {}
    assert not is_current(live, wanted)


# -- two steps that are little more than a call -----------------------------------------------------


def test_the_engine_needs_its_network(world: StepWorld) -> None:
    step = EngineStep()
    assert step.check(world.open()) == Pending("its network is missing")
    step.apply(world.open())
    assert step.check(world.open()) == Ready("Docker 29")
    assert world.engine.calls == ["ensure"]
    step.undo(world.open())
    assert world.engine.networks == set()


def test_an_engine_that_does_not_answer_is_not_asked_for_networks(world: StepWorld) -> None:
    world.engine.verdict = Pending("the private Docker is not running")
    assert EngineStep().check(world.open()) == Pending("the private Docker is not running")


def test_images_are_a_cache(world: StepWorld) -> None:
    world.images.verdict = Pending("3 of 41 parts to build")
    assert ImagesStep().check(world.open()) == Pending("3 of 41 parts to build")
    ImagesStep().undo(world.open())
