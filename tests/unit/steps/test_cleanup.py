"""The cleanup's CronJob: what it is told by the settings, what `status` says of it, and how one is run by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands import run_cronjob
from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Object, Ready
from bootstrap.core.paths import PROJECT
from bootstrap.settings.config import CleanupSettings, Config, MirrorSettings, PipelineSettings, TargetSettings
from bootstrap.steps import cleanup
from tests.golden.rendered import LOCK
from tests.unit.step_world import FakeKube, StepWorld, make


def config(**settings: Any) -> Config:
    return replace(Config(), cleanup=CleanupSettings(**settings))


def cron(**settings: Any) -> Object:
    return find_cron("cleanup", **settings)


def find_cron(name: str, **settings: Any) -> Object:
    objects = cleanup.render_objects(LOCK, PROJECT, config(**settings))
    [found] = [each for each in objects if each["kind"] == "CronJob" and each["metadata"]["name"] == name]
    return found


def environ(container: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


def container_of(job: Object) -> Any:
    [container] = job["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize(
    ("settings", "schedule", "suspended"),
    [({}, "23 */1 * * *", False), ({"hours": 6}, "23 */6 * * *", False), ({"hours": 0}, "23 */1 * * *", True)],
)
def test_when(settings: dict[str, int], schedule: str, *, suspended: bool) -> None:
    spec = cron(**settings)["spec"]
    assert (spec["schedule"], spec["suspend"]) == (schedule, suspended)


def test_what_the_program_is_told() -> None:
    wanted = {"KEEP": "5", "DAYS": "7", "EXCLUDE": "a in (b)", "ARCHIVE": "/archive", "DRY_RUN": "on"}
    settings = {"keep": 5, "days": 7, "exclude": "a in (b)", "archive": "on", "dry_run": "on"}
    assert cleanup.make_variables(config(**settings)) == wanted
    told = environ(container_of(cron(**settings)["spec"]["jobTemplate"]))
    assert told == wanted | {"NAMESPACE": "cicd", "CRON_JOB": "cleanup", "WORKSPACE": ""}


@pytest.mark.parametrize("archive", ["on", "off"])
def test_what_looks_after_the_folders_of_runs(archive: str) -> None:
    spec = find_cron("workspace-cleanup", archive=archive)["spec"]
    assert (spec["schedule"], spec["suspend"]) == ("43 */6 * * *", False)
    container = container_of(spec["jobTemplate"])
    told = environ(container)
    assert (told["CRON_JOB"], told["WORKSPACE"]) == ("workspace-cleanup", "/workspace")
    pod = spec["jobTemplate"]["spec"]["template"]
    assert [each["mountPath"] for each in container["volumeMounts"]] == ["/workspace"]
    assert pod["spec"]["volumes"] == [{"name": "workspace", "persistentVolumeClaim": {"claimName": "workspace"}}]
    assert pod["metadata"]["labels"] == {"app.kubernetes.io/name": "workspace-cleanup"}
    assert find_cron("workspace-cleanup", hours=0)["spec"]["suspend"]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, ""),
        ({"target": TargetSettings(kubeconfig="other")}, "demo/go-echo"),
        (
            {"target": TargetSettings(kubeconfig="other"), "pipeline": PipelineSettings(image="registry.test/a/b")},
            "",
        ),
    ],
)
def test_what_looks_after_images(changes: dict[str, Any], kept: str) -> None:
    settings = replace(config(hours=0, dry_run="on"), **changes)
    objects = cleanup.render_objects(LOCK, PROJECT, settings)
    [found] = [each for each in objects if each["kind"] == "CronJob" and each["metadata"]["name"] == "image-cleanup"]
    assert (found["spec"]["schedule"], found["spec"]["suspend"]) == ("53 */6 * * *", True)
    told = environ(container_of(found["spec"]["jobTemplate"]))
    assert (told["KEEP_REPOSITORIES"], told["DRY_RUN"]) == (kept, "on")
    assert not find_cron("image-cleanup")["spec"]["suspend"]


def test_images_of_a_registry_that_is_not_ours_are_left_alone() -> None:
    mirrored = replace(Config(), supply="mirror", context="far", mirror=MirrorSettings(registry="registry.test"))
    names = {each["metadata"]["name"] for each in cleanup.render_objects(LOCK, PROJECT, mirrored)}
    assert not any("image-cleanup" in name for name in names)


# -- by hand ---------------------------------------------------------------------------------------


class Kube(FakeKube):
    """Its Job ends with `code`: the pod at once, the Job when it is asked for the second time."""

    code = 0

    def create(self, wanted: Object, *, dry_run: bool = False) -> Object:
        metadata = {"name": "pod", "namespace": "cicd"}
        spec = {"containers": [{"name": "cleanup"}]}
        self.put({"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Succeeded"}})
        self.put(wanted)
        return super().create(wanted)

    def get(self, api: str, kind: str, name: str, namespace: str = "") -> Object | None:
        found = super().get(api, kind, name, namespace)
        if kind == "Job" and found:
            ended = {"type": "Failed" if self.code else "Complete", "status": "True"}
            self.put(found | {"status": {"conditions": [ended]}})
        return found

    def follow_log(self, namespace: str, pod: str, container: str) -> list[str]:
        return [f"7 runs, 4 deleted ({pod}, {container})"]


def by_hand(home: Path, there: Object | None, code: int = 0, **settings: Any) -> tuple[StepWorld, Kube]:
    world, kube = make(home, config(**settings)), Kube()
    kube.code = code
    if there:
        kube.put(there, find_cron("workspace-cleanup"), find_cron("image-cleanup"))
    world.kube = kube
    return world, kube


@pytest.mark.parametrize("code", [0, 1])
def test_a_cleanup_by_hand_goes_by_the_settings_of_the_call(tmp_path: Path, code: int) -> None:
    world, kube = by_hand(tmp_path, cron(), code, keep=3, exclude="keep")
    assert run_cronjob.cleanup(world.open()) == code
    job, folders, images = kube.created
    assert all(each["status"]["conditions"] for each in kube.list("batch/v1", "Job", "cicd")), "over for `status` too"
    told = environ(container_of(job))
    assert (told["KEEP"], told["EXCLUDE"], told["DRY_RUN"]) == ("3", "keep", "off")
    assert job["metadata"]["labels"] == {"app.kubernetes.io/name": "cleanup"}
    assert folders["metadata"]["labels"] == {"app.kubernetes.io/name": "workspace-cleanup"}
    assert images["metadata"]["labels"] == {"app.kubernetes.io/name": "image-cleanup"}
    assert world.report.printed == [("line", "7 runs, 4 deleted (pod, cleanup)")] * 3


def test_a_dry_run_says_so_to_the_program(tmp_path: Path) -> None:
    world, kube = by_hand(tmp_path, cron())
    assert run_cronjob.cleanup(world.open(), dry_run=True) == 0
    assert [environ(container_of(each))["DRY_RUN"] for each in kube.created] == ["on"] * 3


def test_an_archive_needs_its_volume_first(tmp_path: Path) -> None:
    world, kube = by_hand(tmp_path, cron(), archive="on")
    with pytest.raises(PreconditionError, match="cleanup has no volume /archive yet"):
        run_cronjob.cleanup(world.open())
    assert kube.created == []
    assert run_cronjob.cleanup(world.open(), dry_run=True) == 0, "it writes nothing"
    world, _ = by_hand(tmp_path, cron(archive="on"), archive="on")
    assert run_cronjob.cleanup(world.open()) == 0


def test_without_an_environment(tmp_path: Path) -> None:
    world, _ = by_hand(tmp_path, None)
    with pytest.raises(PreconditionError, match="environment demo has no cleanup"):
        run_cronjob.cleanup(world.open())


# -- what status says ------------------------------------------------------------------------------


def job(name: str, created: str, condition: str) -> Object:
    conditions = [{"type": condition, "status": "True", "reason": "BackoffLimitExceeded"}] if condition else []
    labels = {"app.kubernetes.io/name": name.rpartition("-")[0]}
    metadata = {"name": name, "namespace": "cicd", "creationTimestamp": created, "labels": labels}
    return {"kind": "Job", "metadata": metadata, "status": {"conditions": conditions}}


def pod(message: str) -> Object:
    statuses = [{"state": {"terminated": {"exitCode": 1, "message": message}}}]
    metadata = {"name": "cleanup-2-x", "namespace": "cicd"}
    return {"kind": "Pod", "metadata": metadata, "status": {"containerStatuses": statuses}}


GOOD, BAD, BUSY = job("cleanup-1", "1", "Complete"), job("cleanup-2", "2", "Failed"), job("cleanup-3", "3", "")


@pytest.mark.parametrize(
    ("objects", "settings", "said"),
    [
        ([], {}, "deletes old runs every 1 h"),
        ([], {"hours": 0}, "deletes old runs by invoke cleanup only"),
        ([], {"dry_run": "on", "hours": 6}, "only looks every 6 h"),
        ([GOOD], {}, "deletes old runs every 1 h"),
        (
            [GOOD, BAD, BUSY, pod("kept a: no space\n7 runs, 4 deleted, 1 failed\n")],
            {},
            "deletes old runs every 1 h; cleanup-2 failed: 7 runs, 4 deleted, 1 failed",
        ),
        ([BAD, job("cleanup-4", "4", "Complete")], {}, "deletes old runs every 1 h"),
        (
            [GOOD, job("image-cleanup-1", "1", "Failed")],
            {},
            "deletes old runs every 1 h; image-cleanup-1 failed: Job cicd/image-cleanup-1: BackoffLimitExceeded",
        ),
    ],
)
def test_status(tmp_path: Path, objects: list[Object], settings: dict[str, Any], said: str) -> None:
    world = make(tmp_path, config(**settings))
    world.kube.put(*objects)
    assert cleanup.make_cleanup_step().prove(world.open()) == Ready(said)


def test_status_of_one_that_left_no_word(tmp_path: Path) -> None:
    world = make(tmp_path)
    world.kube.put(BAD)
    assert (
        "cleanup-2 failed: Job cicd/cleanup-2: BackoffLimitExceeded"
        in cleanup.make_cleanup_step().prove(world.open()).why
    )
