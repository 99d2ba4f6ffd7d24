"""`invoke app-add`, `app-list`, `app-show`, `app-remove`: the applications of an environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bootstrap.commands.application_login import name_login, prepare_login, withdraw_login
from bootstrap.commands.central_repository import read_state, refuse_declared
from bootstrap.commands.find_application import find_application, list_applications
from bootstrap.core import constants
from bootstrap.core.errors import ApiError, PreconditionError, UsageError
from bootstrap.core.model import Failed, Object, Pending, Ready, Verdict
from bootstrap.core.paths import PROJECT
from bootstrap.core.terminal_layout import fit_rows, shorten
from bootstrap.core.text import format_age
from bootstrap.core.wait import until
from bootstrap.incluster.application_source import find_file
from bootstrap.incluster.applications import (
    API_VERSION,
    DEFAULT_ENVIRONMENT,
    DEFAULT_NOTIFY,
    KIND,
    Application,
)
from bootstrap.incluster.path_patterns import find_path_fault
from bootstrap.incluster.repository_address import expand_scp_form, is_ssh
from bootstrap.incluster.run_names import to_dns_label
from bootstrap.objects import application_files
from bootstrap.objects.manifests import stamp
from bootstrap.objects.readiness import at, condition
from bootstrap.world import World

SETTLE_SECONDS = 60.0
COLUMNS = ["app", "repository", "serves", "state", "queue"]
WIDTH, BRANCH_WIDTH = 80, 12
"""Of the tables, and of a branch in front of its commit."""
NAME_LENGTH = 40


def app_add(
    world: World,
    *,
    source: str,
    namespace: str = "",
    branch: str = "",
    context: str = "",
    dockerfile: str = "",
    deployment: str = "",
    port: int = 0,
    poll: str = "",
    paths: str = "",
    login: str = "",
    identity: str = "",
    known_hosts: str = "",
) -> int:
    """Declare an application, apply it, and wait until its pushes start runs.

    source: the address of a repository, or a name for one on the environment's own git server. paths: patterns,
    with commas between. login: the Secret that opens the repository. identity, known_hosts: files to make it of. Raises
    UsageError for what cannot be an application, ApiError for what the API server refuses; then nothing was written.
    """
    begun = world.clock.now()
    options = {"context": context, "dockerfile": dockerfile, "deployment": deployment, "poll": poll, "paths": paths}
    declared = make_object(source, namespace=namespace, branch=branch, port=port, **options)
    wanted = name_login(declared, login, identity, known_hosts)
    name = wanted["metadata"]["name"]
    folder = find_folder(world)
    file = folder / f"{name}.yaml"
    if file.exists():
        raise UsageError(f"{show_path(file)} is there already", hint="edit it, then: invoke up; or choose another name")
    _require_new(world, name)
    opening = prepare_login(world, wanted, identity, known_hosts)
    placed = stamp({**wanted, "metadata": {**wanted["metadata"], "namespace": constants.RUNS}})
    world.kube.apply([placed], dry_run=True)
    if opening:
        world.kube.apply(opening)
        made = ", made of the key and the host's lines of known_hosts" if identity else ""
        world.report.line(f"login      Secret {constants.RUNS}/{wanted['spec']['repository']['login']}{made}")
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(application_files.make_text(wanted))
    world.report.line(f"written    {show_path(file)}")
    world.kube.apply([placed])
    application = wait_until_settled(world, name)
    places = ", ".join(each.namespace for each in application.environments)
    world.report.line(f"applied    Application {name}: deploys to {places}")
    _tell_how_to_push(world, application)
    if identity:
        world.report.line(f"git host   deploy key, read only: {identity}.pub")
    world.report.line(f"ready in {world.clock.now() - begun:.0f} s.  next: git push · invoke test-run --app {name}")
    return 0


def make_object(source: str, *, namespace: str, branch: str, port: int, **more: str) -> Object:
    """The Application that says what the flags say, and nothing else. Raises UsageError."""
    address = expand_scp_form(source)
    url = source if "://" in address else ""
    if url:
        _require_no_password(address)
    path = re.sub(r"(\.git)?/*\Z", "", urlsplit(address).path if url else source)
    name = to_dns_label(path.rpartition("/")[2], NAME_LENGTH)
    if not name or (not url and name != source):
        hint = f"invoke app-add {name}" if name else "invoke app-add https://git.example.com/sales/orders.git"
        raise UsageError(f'"{source}" is neither an address nor a name of lower case letters and dashes', hint=hint)
    spec: Object = {"repository": {"url": url}} if url else {}
    if more["poll"]:
        spec["arrive"] = {"poll": more["poll"]}
    if more["paths"]:
        spec["paths"] = _parse_paths(more["paths"])
    build = {key: more[key] for key in ("context", "dockerfile") if more[key]}
    if build:
        spec["build"] = build
    if port:
        spec["port"] = port
    place: Object = {"namespace": namespace, "deployment": more["deployment"]}
    place = {key: value for key, value in place.items() if value} | ({"branches": [branch]} if branch else {})
    if place:
        spec["environments"] = [{"name": DEFAULT_ENVIRONMENT, **place}]
    made: Object = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}}
    return made | ({"spec": spec} if spec else {})


def _require_no_password(address: str) -> None:
    """Raises UsageError, which does not repeat the address: for a login in it, and by ssh for one without a user."""
    user, at_sign, _ = urlsplit(address).netloc.rpartition("@")
    if ":" in user or (at_sign and not is_ssh(address)):
        raise UsageError("the address holds a login", hint="give it without; --login names the Secret with it")
    if is_ssh(address) and not user:
        raise UsageError("an address of ssh begins with the user", hint="invoke app-add git@HOST:PATH.git ...")


def _parse_paths(text: str) -> list[str]:
    """The patterns of files. Raises UsageError."""
    paths = [each.strip() for each in text.split(",")]
    for each in paths:
        if fault := find_path_fault(each):
            raise UsageError(f'--paths: "{each}": {fault}', hint="--paths services/orders/**,libs/common")
    return paths


def find_folder(world: World) -> Path:
    """The folder of the files that declare applications."""
    return (world.project / world.config.apps.folder).absolute()


def show_path(path: Path) -> str:
    """A path as one types it in the project's folder."""
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)


def _require_new(world: World, name: str) -> None:
    found = world.kube.get(API_VERSION, KIND, name, constants.RUNS)
    if found is not None:
        refuse_declared(world, found)
        raise UsageError(f"there is an application {name} already", hint=f"invoke app-show {name}")


def wait_until_settled(world: World, name: str) -> Application:
    """The Application once the manager has made what it needs. Raises StepError or so, with what the manager says."""

    def probe() -> Verdict:
        try:
            found = world.kube.get(API_VERSION, KIND, name, constants.RUNS)
        except ApiError as error:
            return Pending(error.message)
        ready = condition(found or {}, "Ready")
        if not ready:
            return Pending("the manager has not looked at it yet")
        if ready["status"] == "True":
            return Ready()
        return Failed(ready["message"]) if ready["reason"] == "Refused" else Pending(ready["message"])

    verdict = until(probe, clock=world.clock, limit=SETTLE_SECONDS, what=f"application {name}", every=0.2)
    if isinstance(verdict, Failed):
        raise PreconditionError(f"application {name}: {verdict.why}", hint=f"invoke app-remove {name}")
    return find_application(world, name)


def _tell_how_to_push(world: World, application: Application) -> None:
    if application.is_hosted:
        world.report.line(f"clone      invoke clone --app {application.name}")
    elif application.webhook:
        world.report.line("git host   webhook: where invoke listener leads · secret: invoke webhook --show-secret")


def app_list(world: World, *, as_json: bool = False) -> int:
    """What is declared, and what serves."""
    objects = list_applications(world)
    if as_json:
        world.report.json([make_row(each) for each in objects])
        return 0
    _tell_repository(world)
    if not objects:
        world.report.line("no application is declared.  next: invoke app-add NAME-OR-URL")
        return 0
    now = datetime.now(UTC)
    rows = [_format_row(make_row(each), now) for each in objects]
    world.report.table(COLUMNS, fit_rows(COLUMNS, rows, WIDTH))
    return 0


def _tell_repository(world: World) -> None:
    state = read_state(world)
    if state is None:
        return
    line = f"repository {state.mark}: {state.describe()}"
    world.report.line(line) if state.is_well else world.report.warn(line)


def make_row(obj: Object) -> dict[str, Any]:
    """An Application as JSON: what is declared, and what its status tells."""
    status = obj.get("status") or {}
    ready = condition(obj, "Ready")
    return {
        "app": obj["metadata"]["name"],
        "repository": status.get("repository") or at(obj, "spec", "repository", "url") or "(own server)",
        "state": status.get("state") or "new",
        "branch": status.get("branch") or "",
        "commit": status.get("commit") or "",
        "why": "" if ready.get("status") == "True" else ready.get("message", "the manager has not looked at it yet"),
        "environments": status.get("environments") or [],
    }


def _format_row(row: Mapping[str, Any], now: datetime) -> list[str]:
    environments = row["environments"]
    failed = next((f": {each['why']}" for each in environments if each.get("why")), "")
    since = next((each["since"] for each in environments if each.get("since")), "")
    age = format_age(since, now)
    serves = (
        f"{shorten(row['branch'], BRANCH_WIDTH)} {row['commit']}  {age}".strip() if row["commit"] else "nothing yet"
    )
    waits = sum(1 for each in environments if each.get("waits"))
    state = _describe_state(row) if row["why"] else f"{row['state']}{failed}"
    return [
        str(row["app"]),
        str(row["repository"]).partition("://")[2] or str(row["repository"]),
        serves,
        state,
        f"{waits} waits" if waits else "",
    ]


def _describe_state(row: Mapping[str, Any]) -> str:
    return f"{row['state']}: {row['why']}" if row["why"] else str(row["state"])


def app_show(world: World, *, app: str, as_json: bool = False) -> int:
    """One application with its environments, everything filled in."""
    objects = list_applications(world)
    application = find_application(world, app, objects)
    row = make_row(next(each for each in objects if each["metadata"]["name"] == app))
    if as_json:
        world.report.json(row)
        return 0
    declared = find_file(next(each for each in objects if each["metadata"]["name"] == app))
    facts = {
        "repository": application.url,
        **({"login": f"Secret {constants.RUNS}/{application.login}"} if application.login else {}),
        **({"declared": f"in {declared} of the central repository"} if declared else {}),
        "owner": application.owner or "nobody is named",
        "arrives": _describe_arrival(application),
        **({"concerns": f"changes of {', '.join(application.paths)}"} if application.paths else {}),
        "image": application.image,
        "builds": _describe_build(application),
        "state": _describe_state(row),
    }
    if application.notify != DEFAULT_NOTIFY:
        facts["notifies"] = f"by Secret {constants.RUNS}/{application.notify}"
    for key, value in facts.items():
        world.report.line(f"{key:<11}{value}")
    told = {each["name"]: each for each in row["environments"]}
    rows = []
    for each in application.environments:
        now = told.get(each.name) or {}
        comes = "by hand" if not each.branches else ", ".join(each.branches)
        serving = str(now.get("commit") or "")[:7] or "nothing yet"
        rows.append([each.name, f"{each.namespace}/{each.deployment}", comes, serving, str(now.get("state") or "new")])
    columns = ["environment", "deployment", "from", "serves", "state"]
    world.report.table(columns, fit_rows(columns, rows, WIDTH))
    return 0


def _describe_build(application: Application) -> str:
    stage = f", stage {application.target}" if application.target else ""
    given = ", ".join(f"{name}={value}" for name, value in application.args)
    return f"{application.dockerfile} in {application.context}{stage}" + (f", with {given}" if given else "")


def _describe_arrival(application: Application) -> str:
    ways = ["by webhook"] * application.webhook
    ways += [f"asked for every {application.poll // 60} min"] * bool(application.poll)
    return ", ".join(ways) or "by hand only"


def app_remove(world: World, *, app: str) -> int:
    """Remove the declaration, and what was derived from it. What runs stays, and so does its repository.

    Raises UsageError for one that the central repository declares.
    """
    objects = list_applications(world)
    application = find_application(world, app, objects)
    refuse_declared(world, next(each for each in objects if each["metadata"]["name"] == app))
    files = {file: application_files.list_names(file) for file in application_files.list_files(find_folder(world))}
    world.kube.delete(API_VERSION, KIND, app, constants.RUNS)
    withdraw_login(world, application, [each for each in list_applications(world) if each["metadata"]["name"] != app])
    for file in [each for each, names in files.items() if app in names]:
        shown = show_path(file)
        if files[file] == [app]:
            file.unlink()
            world.report.line(f"removed    {shown}")
        else:
            world.report.line(f"stays      {shown}, which has more in it: take {app} out, or invoke up makes it again")
    world.report.line(f"removed    Application {app}: its pushes start nothing, its unfinished runs are cancelled")
    for each in application.environments:
        world.report.line(f"stays      Deployment {each.namespace}/{each.deployment}")
    if application.login:
        world.report.line(f"stays      Secret {constants.RUNS}/{application.login}")
    if application.is_hosted:
        world.report.line(f"stays      repository {application.repository} on the environment's git server")
    return 0
