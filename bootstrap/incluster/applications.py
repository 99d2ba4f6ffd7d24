"""An Application: what a repository is, what is built from it, and where that is deployed. Pure.

The custom resource says only what differs from the usual; here the rest is filled in. This machine and the manager in
the cluster read it by the same functions, so that they name the same runs, images and Secrets.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from bootstrap.incluster.branch_patterns import build_branch_regex
from bootstrap.incluster.git_login import NO_LOGIN
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.repository_address import expand_scp_form
from bootstrap.incluster.run_names import (
    APPLICATION,
    BRANCH,
    COMMIT,
    DIGEST_LENGTH,
    ENVIRONMENT,
    IMAGE_FROM,
    SHORT_COMMIT,
    TRIGGER,
    normalize_url,
    to_dns_label,
    to_label_value,
)

GROUP, VERSION, PLURAL, KIND = "tekton-bootstrap.dev", "v1alpha1", "applications", "Application"
API_VERSION = f"{GROUP}/{VERSION}"
OWN_SERVER = "http://git.git.svc.cluster.local"
"""The environment's own git server, as pods reach it."""
DEFAULT_ENVIRONMENT, DEFAULT_BRANCH, DEFAULT_PORT = "default", "main", 8080
DEFAULT_NOTIFY = "notify"
"""The Secret that says who hears of runs; `up` writes this one from the settings `notify.*`."""
ACCOUNT = "pipeline-deployer"
"""The ServiceAccount that runs deploy with, one in each namespace that is deployed to."""
IMAGE_PIPELINE = "deploy-image"
"""The Pipeline of runs that build nothing: they deploy an image that is there already."""
IMAGE_PARAMETERS = (
    *("COMMIT", "REPO", "IMAGE", "DIGEST", "NAMESPACE", "NAME", "CONTAINER"),
    *("ROLLOUT_SECONDS", "PORT", "NOTIFY"),
)
IMAGE_TASKS, IMAGE_WORKSPACES = ("deploy", "notify"), ("target",)
"""What that Pipeline has: Tekton refuses a run that has settings for a task which is not in its Pipeline."""
LOGIN_WORKSPACE = "git-login"
PREFIX_LENGTH = 40
"""Characters of a run's name before its commit."""


class ApplicationFault(ValueError):
    """What is wrong with an Application, in one sentence that names the field."""


@dataclass(frozen=True)
class Environment:
    """Where an Application is deployed to.

    branches: names and patterns whose pushes go there by themselves; none where deployments are promoted by hand.
    rollout: seconds that a rollout may take, 0 for the environment's own setting. creates: whether the Deployment is
    made by the first run if it is missing, because the Application does not name one.
    """

    name: str
    namespace: str
    deployment: str
    container: str
    branches: tuple[str, ...] = (DEFAULT_BRANCH,)
    promote: bool = False
    rollout: int = 0
    creates: bool = True


@dataclass(frozen=True)
class Application:
    """An Application with everything filled in.

    url: of its repository, as pods reach it, with a scheme. login: Secret with the login for it, "" for that of the
    settings. webhook: whether pushes start runs. poll: seconds between two looks at the repository, 0 for none. paths:
    patterns of the files whose changes start runs, none for all. image: HOST/PATH. target: stage of the Dockerfile, ""
    for the last one. args: build arguments, name and value. port: that the program listens on. notify: Secret that says
    who hears of its runs. uid: "" of one that is only a file.
    """

    name: str
    url: str
    image: str
    environments: tuple[Environment, ...]
    login: str = ""
    owner: str = ""
    webhook: bool = True
    poll: int = 0
    paths: tuple[str, ...] = ()
    context: str = "."
    dockerfile: str = "Dockerfile"
    target: str = ""
    args: tuple[tuple[str, str], ...] = ()
    port: int = DEFAULT_PORT
    notify: str = DEFAULT_NOTIFY
    uid: str = ""

    @property
    def is_hosted(self) -> bool:
        """Whether its repository is on the environment's own git server."""
        return self.url.startswith(f"{OWN_SERVER}/")

    @property
    def repository(self) -> str:
        """The path of its repository at its host, without `.git`: "sales/orders"."""
        return normalize_url(self.url).partition("://")[2].partition("/")[2]

    def get_environment(self, name: str = "") -> Environment:
        """The environment of that name; without one the first. Raises ApplicationFault."""
        found = next((each for each in self.environments if not name or each.name == name), None)
        if found is None:
            names = ", ".join(each.name for each in self.environments)
            raise ApplicationFault(f"{self.name} has no environment {name}; it has {names}")
        return found

    def find_environment(self, branch: str) -> Environment | None:
        """The environment that pushes to a branch go to."""
        for each in self.environments:
            if each.branches and re.fullmatch(build_branch_regex(each.branches), branch):
                return each
        return None


def read_application(obj: Mapping[str, Any], registry: str) -> Application:
    """The Application that an object describes. registry: HOST[:PORT][/PATH] that images are pushed below.

    The API server has checked the object's form by its schema; a file is checked by it as well before it is applied.
    """
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    name = str(metadata["name"])
    repository, build, arrive = (spec.get(key) or {} for key in ("repository", "build", "arrive"))
    environments = spec.get("environments") or [{"name": DEFAULT_ENVIRONMENT}]
    return Application(
        name=name,
        url=expand_scp_form(str(repository.get("url") or f"{OWN_SERVER}/{name}.git")),
        image=str(build.get("image") or f"{registry}/apps/{name}"),
        environments=tuple(_read_environment(each, name) for each in environments),
        login=str(repository.get("login") or ""),
        owner=str(spec.get("owner") or ""),
        webhook=bool(arrive.get("webhook", True)),
        poll=parse_duration(str(arrive.get("poll") or "0s")),
        paths=tuple(map(str, spec.get("paths") or ())),
        context=str(build.get("context") or "."),
        dockerfile=str(build.get("dockerfile") or "Dockerfile"),
        target=str(build.get("target") or ""),
        args=tuple(sorted((str(name), str(value)) for name, value in (build.get("args") or {}).items())),
        port=int(spec.get("port") or DEFAULT_PORT),
        notify=str((spec.get("notify") or {}).get("secret") or DEFAULT_NOTIFY),
        uid=str(metadata.get("uid") or ""),
    )


def _read_environment(found: Mapping[str, Any], application: str) -> Environment:
    deployment = str(found.get("deployment") or application)
    promote = bool(found.get("promote"))
    branches = found.get("branches")
    return Environment(
        name=str(found["name"]),
        namespace=str(found.get("namespace") or application),
        deployment=deployment,
        container=str(found.get("container") or deployment),
        branches=tuple(branches if branches is not None else () if promote else (DEFAULT_BRANCH,)),
        promote=promote,
        rollout=parse_duration(str(found.get("rollout") or "0s")),
        creates="deployment" not in found,
    )


def parse_duration(text: str) -> int:
    """Seconds: "90s" -> 90, "5m" -> 300, "1h" -> 3600. Raises ApplicationFault."""
    found = re.fullmatch(r"(\d{1,6})([smh])", text)
    if not found:
        raise ApplicationFault(f'"{text}" is not a time such as 90s, 5m or 1h')
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def find_faults(application: Application, others: Iterable[Application]) -> list[str]:
    """What the schema cannot see: environments that share a branch or a Deployment, and what another claims already.

    others: all that were there before; the one itself among them does not count.
    """
    shared = [*_find_shared_branches(application), *_find_shared_deployments(application)]
    return [*shared, *_find_claimed(application, others)]


def _find_shared_branches(application: Application) -> Iterator[str]:
    seen: list[tuple[str, str]] = []
    for environment in application.environments:
        for branch in environment.branches:
            for other, before in seen:
                if overlaps(branch, before):
                    yield f"branch {branch} of environment {environment.name} goes to {other} already ({before})"
            seen.append((environment.name, branch))


def _find_shared_deployments(application: Application) -> Iterator[str]:
    seen: dict[tuple[str, str], str] = {}
    for each in application.environments:
        other = seen.setdefault((each.namespace, each.deployment), each.name)
        if other != each.name:
            yield f"environments {other} and {each.name} are both Deployment {each.namespace}/{each.deployment}"


def overlaps(one: str, other: str) -> bool:
    """Whether two patterns have a branch in common, told for sure only where one of them is a plain name."""
    plain, pattern = (one, other) if "*" not in one else (other, one)
    return one == other or bool(re.fullmatch(build_branch_regex([pattern]), plain))


def _find_claimed(application: Application, others: Iterable[Application]) -> Iterator[str]:
    places = {(each.namespace, each.deployment) for each in application.environments}
    for other in others:
        if other.name == application.name:
            continue
        for each in other.environments:
            if (each.namespace, each.deployment) in places:
                yield f"Deployment {each.namespace}/{each.deployment} is application {other.name}'s"
        if other.image == application.image:
            yield f"image {other.image} is application {other.name}'s"


# -- its runs ----------------------------------------------------------------------------------------


def make_run_prefix(application: Application, environment: Environment) -> str:
    """What the names of its runs begin with: the application, and the environment where there are several.

    Two dashes are between the two, for no name has them: one push may start runs of several applications.
    """
    text = application.name if len(application.environments) == 1 else f"{application.name}--{environment.name}"
    if len(text) <= PREFIX_LENGTH:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
    return f"{to_dns_label(text, PREFIX_LENGTH - DIGEST_LENGTH - 1)}-{digest}"


def make_run_name(application: Application, environment: Environment, commit: str, suffix: str) -> str:
    """ "orders-84a81d2f01d3-3c1e9a7b". suffix: letters and digits that tell two arrivals of one commit apart."""
    return f"{make_run_prefix(application, environment)}-{commit[:SHORT_COMMIT]}-{suffix}"


def make_target_name(application: Application, environment: Environment) -> str:
    """The Secret with the kubeconfig that its runs deploy to an environment with: "target-orders.staging"."""
    return f"target-{application.name}.{environment.name}"


def make_parameters(application: Application, environment: Environment, revision: str) -> dict[str, str]:
    """The parameters of a run that differ from application to application, name -> value."""
    return {
        "REPO": application.url,
        "REVISION": revision,
        "IMAGE": application.image,
        "NAMESPACE": environment.namespace,
        "NAME": environment.deployment,
        "CONTAINER": environment.container,
        "DOCKERFILE": application.dockerfile,
        "CONTEXT": application.context,
        "TARGET": application.target,
        "BUILD_ARGS": urlencode(application.args, quote_via=quote),
        "PORT": str(application.port) if environment.creates else "",
        "NOTIFY": application.notify,
        "LOGIN": application.login,
        **({"ROLLOUT_SECONDS": str(environment.rollout)} if environment.rollout else {}),
    }


def make_run(
    run: Object, application: Application, environment: Environment, *, name: str, branch: str, commit: str, by: str
) -> Object:
    """A PipelineRun of the application that waits for the manager to release it.

    run: one with the environment's settings in it, whose parameters are replaced. branch: may be "" for a run by hand
    of a bare commit. by: how it arrived: push, poll or hand.
    """
    made = copy.deepcopy(run)
    labels = {
        APPLICATION: application.name,
        ENVIRONMENT: environment.name,
        TRIGGER: by,
        COMMIT: to_label_value(commit),
        BRANCH: to_label_value(branch),
    }
    annotations = {COMMIT: commit, BRANCH: branch}
    metadata = made["metadata"]
    metadata.pop("generateName", None)
    metadata["name"] = name
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
    values = make_parameters(application, environment, commit or branch)
    return fill_run(made, values, make_target_name(application, environment), application.login or NO_LOGIN)


def make_image_run(
    run: Object,
    application: Application,
    environment: Environment,
    *,
    name: str,
    branch: str,
    commit: str,
    image: str,
    source: str,
) -> Object:
    """A PipelineRun that deploys an image which is there already; it waits for the manager as those that build do.

    run, name, branch, commit: as of `make_run`; how it arrived is by hand. image: HOST/PATH@DIGEST, built from that
    commit. source: the environment in which it served.
    """
    made = make_run(run, application, environment, name=name, branch=branch, commit=commit, by="hand")
    made["metadata"]["annotations"][IMAGE_FROM] = source
    path, _, digest = image.partition("@")
    spec = made["spec"]
    values = {each["name"]: each["value"] for each in spec["params"]}
    values |= {"COMMIT": commit, "IMAGE": path, "DIGEST": digest}
    spec["pipelineRef"] = {"name": IMAGE_PIPELINE}
    spec["params"] = [{"name": each, "value": values[each]} for each in IMAGE_PARAMETERS]
    spec["workspaces"] = [each for each in spec["workspaces"] if each["name"] in IMAGE_WORKSPACES]
    spec["taskRunSpecs"] = [each for each in spec["taskRunSpecs"] if each["pipelineTaskName"] in IMAGE_TASKS]
    return made


def fill_run(run: Object, values: Mapping[str, str], target: str, login: str) -> Object:
    """Set parameters of a PipelineRun and its Secrets, and let it wait; answers the same object.

    target: the Secret that it deploys with. login: that of the repository. One that is missing does not hold up the
    pod, for then nobody would be told why: the step that clones says so.
    """
    spec = run["spec"]
    spec["status"] = "PipelineRunPending"
    params = {each["name"]: each["value"] for each in spec["params"]} | dict(values)
    spec["params"] = [{"name": key, "value": value} for key, value in params.items()]
    for workspace in spec["workspaces"]:
        if workspace["name"] == "target":
            workspace["secret"] = {"secretName": target}
    others = [each for each in spec["workspaces"] if each["name"] != LOGIN_WORKSPACE]
    spec["workspaces"] = [*others, {"name": LOGIN_WORKSPACE, "secret": {"secretName": login, "optional": True}}]
    return run
