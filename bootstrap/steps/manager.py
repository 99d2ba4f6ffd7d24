"""The manager: the program in the cluster that looks after Applications, and the kind `Application` itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.incluster.application_source import is_from_repository
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.objects import proxy_env, run_spec
from bootstrap.objects.application_files import load_applications
from bootstrap.objects.login_grant import list_logins, make_login_grant
from bootstrap.objects.patches import Patch, Select, put
from bootstrap.objects.readiness import at
from bootstrap.settings.central_repository import find_source
from bootstrap.settings.registry_endpoint import choose_endpoint
from bootstrap.steps.manifest_step import ManifestStep, render
from bootstrap.world import World

NAME, FOLDER = "manager", "manifests/manager"
READS = ("spec", "template", "metadata", "annotations", "tekton-bootstrap.dev/settings")
"""A digest of what the manager reads at its start: when that changes, its pod is made anew."""


def make_manager_step() -> ManifestStep:
    """The step `manager`."""
    return ManifestStep(NAME, render_objects, needs=("tekton", "credentials"), limit=120)


def render_objects(world: World) -> list[Object]:
    """The objects of manifests/manager, with the settings that the manager reads."""
    config = world.config
    settings = {
        "registry": choose_endpoint(config).root,
        "builds": config.apps.concurrent_runs,
        "tokenHours": config.target.token_hours,
        "run": run_spec.load_template(world.project, config),
    }
    source = find_source(config)
    if source:
        settings["source"] = asdict(source)
    text = json.dumps(settings)
    written = put("data", "settings.json", value=text)
    restarts = put(*READS, value=hashlib.sha256(text.encode()).hexdigest()[:16])
    patches = [
        Patch(Select("ConfigMap", NAME), written),
        Patch(Select("Deployment", NAME), restarts),
        *proxy_env.make_patches(config.proxy, Select("Deployment", NAME)),
    ]
    return render(world.images.read_lock(), world.project / FOLDER, patches=patches)


def make_applications_step() -> ManifestStep:
    """The step `applications`: those that the files of `apps.folder` declare. Others that are in the cluster stay.

    The manager is let read the logins that they name, and that the others name.
    """
    return ManifestStep(
        "applications",
        list_objects,
        needs=(NAME,),
        limit=60,
        judge_live=_judge_application,
        prove=_describe_applications,
        adopts=True,
    )


def load_declared(world: World) -> list[Object]:
    """The Applications of `apps.folder`, but for those that the central repository declares too: it wins.

    Raises UsageError with file and fault.
    """
    found = load_applications(world.project / world.config.apps.folder, constants.RUNS)
    source = find_source(world.config)
    if not found or not source:
        return found
    try:
        live = world.kube.list(API_VERSION, KIND, constants.RUNS)
    except BootstrapError:  # there is no cluster yet, or it does not know the kind
        return found
    theirs = {str(each["metadata"]["name"]) for each in live if source.declares(each)}
    return [each for each in found if each["metadata"]["name"] not in theirs]


def list_objects(world: World) -> list[Object]:
    """What is declared, and the manager's right to read each login that is named. Raises UsageError, ApiError."""
    declared = load_declared(world)
    logins = list_logins([*declared, *world.kube.list(API_VERSION, KIND, constants.RUNS)])
    return [*declared, *(part for each in logins for part in make_login_grant(each))]


def _judge_application(_: Object, live: Object) -> Verdict:
    """Ready once the manager has looked at it: what is wrong with one is not the environment's fault."""
    if live["kind"] != KIND:
        return Ready()
    seen = at(live, "status", "observedGeneration") == at(live, "metadata", "generation")
    return Ready() if seen else Pending(f"the manager has not looked at application {live['metadata']['name']} yet")


def _describe_applications(world: World) -> Verdict:
    """Ready in any case: an Application at fault is not the environment's; the text names those."""
    found = world.kube.list(API_VERSION, KIND, constants.RUNS)
    refused = [each for each in found if at(each, "status", "state") == "refused"]
    count = f"{len(found)} application{'' if len(found) == 1 else 's'}"
    declared = [each for each in found if is_from_repository(each)]
    if declared:
        count += f", {len(declared)} of them declared by the repository"
    if not refused:
        return Ready(count)
    return Ready(f"{count}; {len(refused)} refused: {refused[0]['metadata']['name']}, see invoke app-list")
