"""What the manager changes in the cluster, and on the environment's own git server."""

from __future__ import annotations

import base64
import calendar
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bootstrap.incluster.application_source import STATE, SourceState
from bootstrap.incluster.applications import ACCOUNT, GROUP, PLURAL, VERSION, Application, Environment
from bootstrap.incluster.git_login import GitLogin, LoginFault, read_login
from bootstrap.incluster.git_server import RepositoryRefused, create_repository
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import ACCOUNT as OWN_ACCOUNT
from bootstrap.incluster.kube_api import MERGE, Api, ApiFailure
from bootstrap.incluster.run_names import APPLICATION, ARRIVAL, SUPERSEDED_BY
from bootstrap.incluster.run_queue import Action, Number, Release
from bootstrap.manager import derived_objects

FIELD_MANAGER, REPOSITORY_MANAGER = "tekton-bootstrap-manager", "tekton-bootstrap-repository"
"""Who the API server says applied an object: the manager itself, or the repository by it."""
JSON, APPLY = "application/json", "application/apply-patch+yaml"
PLURALS = {
    "Secret": "secrets",
    "ServiceAccount": "serviceaccounts",
    "RoleBinding": "rolebindings",
    "Trigger": "triggers",
}
"""Kind -> the last part of its path."""
FORBIDDEN, NOT_FOUND, CONFLICT = 403, 404, 409


class ClusterFailure(Exception):
    """What could not be done, in one sentence; worth trying again."""


@dataclass(frozen=True)
class Token:
    """Of a deployer. expires: seconds since the epoch."""

    text: str
    expires: float


class Cluster:
    """The effects of the manager. namespace: that of Applications and runs; login: folder with username, password."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        *,
        token_seconds: int,
        login: Path,
        account: Path = OWN_ACCOUNT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._token_seconds = token_seconds
        self._login = login
        self._account = account
        self._clock = clock

    def settle(self, application: Application) -> float:
        """Make everything that an Application needs; when its tokens must be renewed, in seconds since the epoch.

        Raises ClusterFailure, ApiFailure.
        """
        if application.login:
            self._require_login(application)
        if application.is_hosted:
            self.create_repository(application.url)
        for namespace in derived_objects.list_namespaces(application):
            self._require_namespace(namespace)
            for each in derived_objects.make_deployer(namespace):
                self.apply(each)
        renew_at = self.renew_tokens(application)
        triggers = derived_objects.make_triggers(application, self._namespace)
        for each in triggers:
            self.apply(each)
        self._delete_triggers(application, keep={each["metadata"]["name"] for each in triggers})
        return renew_at

    def read_login(self, application: Application) -> GitLogin:
        """The login for its repository that the Secret is which it names. Raises LoginFault, ApiFailure."""
        path = f"/api/v1/namespaces/{self._namespace}/secrets/{application.login}"
        secret = None
        try:
            secret = self._api.request("GET", path)
        except ApiFailure as error:
            if error.status == FORBIDDEN:
                raise LoginFault(f"the manager is not let read Secret {application.login} yet", "invoke up") from None
            if error.status != NOT_FOUND:
                raise
        return read_login(secret, application.login, application.url)

    def _require_login(self, application: Application) -> None:
        """Before anything is made that would start runs with it."""
        try:
            self.read_login(application)
        except LoginFault as fault:
            raise ClusterFailure(f"{fault}: {fault.hint}" if fault.hint else str(fault)) from None

    def renew_tokens(self, application: Application) -> float:
        """Write a new kubeconfig for each environment; when to do so again. Raises ClusterFailure, ApiFailure."""
        ends = []
        for environment in application.environments:
            token = self._request_token(environment)
            ca = base64.b64encode((self._account / "ca.crt").read_bytes()).decode()
            self.apply(derived_objects.make_target_secret(application, environment, token.text, ca, self._namespace))
            ends.append(token.expires)
        now = self._clock()
        return now + (min(ends) - now) / 2

    def _request_token(self, environment: Environment) -> Token:
        path = f"/api/v1/namespaces/{environment.namespace}/serviceaccounts/{ACCOUNT}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": self._token_seconds},
        }
        now = self._clock()
        answer = self._api.request("POST", path, body)
        try:
            ends = calendar.timegm(time.strptime(answer["status"]["expirationTimestamp"], "%Y-%m-%dT%H:%M:%SZ"))
            return Token(answer["status"]["token"], max(ends, now + 60))
        except (LookupError, TypeError, ValueError):
            raise ClusterFailure(f"the API gave no token of {environment.namespace}/{ACCOUNT}") from None

    def read_namespaces(self) -> dict[str, str]:
        """Name -> uid, of all that there are. Raises ApiFailure."""
        found = self._api.request("GET", "/api/v1/namespaces").get("items") or ()
        return {str(each["metadata"]["name"]): str(each["metadata"].get("uid", "")) for each in found}

    def _require_namespace(self, name: str) -> None:
        """A namespace that is there is used as it is."""
        if not self._ask(NOT_FOUND, "GET", f"/api/v1/namespaces/{name}"):
            self._ask(CONFLICT, "POST", "/api/v1/namespaces", derived_objects.make_namespace(name))

    def _ask(self, but: int, method: str, path: str, body: Object | None = None, kind: str = JSON) -> bool:
        """Whether it was done; False if the answer was the status `but`. Raises ApiFailure for every other refusal."""
        try:
            self._api.request(method, path, body, kind)
        except ApiFailure as error:
            if error.status != but:
                raise
            return False
        return True

    def apply(self, obj: Object) -> None:
        """Server-side apply of a namespaced object. Raises ApiFailure."""
        self._api.request("PATCH", f"{self._make_path(obj)}?fieldManager={FIELD_MANAGER}&force=true", obj, APPLY)

    def _make_path(self, obj: Object) -> str:
        metadata, version = obj["metadata"], obj["apiVersion"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        return f"{root}/namespaces/{metadata['namespace']}/{PLURALS[obj['kind']]}/{metadata['name']}"

    def _delete_triggers(self, application: Application, keep: set[str]) -> None:
        """Of environments that it has no more, or that pushes no longer go to."""
        root = f"/apis/triggers.tekton.dev/v1beta1/namespaces/{self._namespace}/triggers"
        selector = quote(f"{APPLICATION}={application.name}")
        for each in self._api.request("GET", f"{root}?labelSelector={selector}").get("items") or ():
            if each["metadata"]["name"] not in keep:
                self._ask(NOT_FOUND, "DELETE", f"{root}/{each['metadata']['name']}")

    def refuse(self, application: Application) -> None:
        """Take back what would start its runs: nothing of an Application that is at fault is built."""
        self._delete_triggers(application, keep=set())

    def create_repository(self, url: str) -> None:
        """An empty repository on the environment's own git server, if there is none. Raises ClusterFailure."""
        username, password = ((self._login / each).read_text() for each in ("username", "password"))
        try:
            create_repository(url, username, password)
        except RepositoryRefused as error:
            raise ClusterFailure(str(error)) from None

    # -- the central repository -----------------------------------------------------------------------

    def list_applications(self) -> list[Object]:
        """All Applications, as they are. Raises ApiFailure."""
        return [*(self._api.request("GET", self._applications).get("items") or ())]

    def declare(self, obj: Object, *, dry_run: bool = False) -> None:
        """Server-side apply of an Application of the repository; a field that it does not have is refused.

        dry_run: nothing is changed. Raises ApiFailure.
        """
        query = f"?fieldManager={REPOSITORY_MANAGER}&force=true&fieldValidation=Strict{'&dryRun=All' * dry_run}"
        self._api.request("PATCH", f"{self._applications}/{obj['metadata']['name']}{query}", obj, APPLY)

    def delete_application(self, name: str) -> None:
        """What was derived from it goes with it; what it deployed stays. Raises ApiFailure."""
        self._ask(NOT_FOUND, "DELETE", f"{self._applications}/{name}")

    def read_source_state(self) -> SourceState:
        """How far the repository is applied, as it was written last. Raises ApiFailure."""
        return SourceState.read(self._api.request("GET", self._source_state).get("data"))

    def write_source_state(self, state: SourceState) -> None:
        """Raises ApiFailure."""
        self._api.request("PATCH", self._source_state, {"data": state.to_data()}, MERGE)

    def write_source_event(self, reason: str, message: str, *, warns: bool) -> None:
        """An Event on the ConfigMap of that state. Raises ApiFailure."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        of = {"apiVersion": "v1", "kind": "ConfigMap", "name": STATE, "namespace": self._namespace}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{STATE}-", "namespace": self._namespace},
            "involvedObject": of,
            "reason": reason,
            "message": message[:1000],
            "type": "Warning" if warns else "Normal",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": FIELD_MANAGER},
        }
        self._api.request("POST", f"/api/v1/namespaces/{self._namespace}/events", event)

    @property
    def _applications(self) -> str:
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self._namespace}/{PLURAL}"

    @property
    def _source_state(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/configmaps/{STATE}"

    # -- runs ----------------------------------------------------------------------------------------

    def act(self, action: Action) -> None:
        """Do one thing with a run. A run that is gone needs nothing. Raises ApiFailure."""
        path = f"/apis/tekton.dev/v1/namespaces/{self._namespace}/pipelineruns/{action.run}"
        self._ask(NOT_FOUND, "PATCH", path, make_patch(action), MERGE)

    def create_run(self, run: Object) -> bool:
        """Whether it was made; False if there is one of that name. Raises ApiFailure."""
        return self._ask(CONFLICT, "POST", f"/apis/tekton.dev/v1/namespaces/{self._namespace}/pipelineruns", run)

    def cancel(self, run: str) -> None:
        """End a run whose application is gone. Raises ApiFailure."""
        path = f"/apis/tekton.dev/v1/namespaces/{self._namespace}/pipelineruns/{run}"
        self._ask(NOT_FOUND, "PATCH", path, {"spec": {"status": "Cancelled"}}, MERGE)

    def write_status(self, application: str, status: Mapping[str, Any]) -> None:
        """Merge into an Application's status. One that is gone needs none. Raises ApiFailure."""
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{self._namespace}/{PLURAL}/{application}/status"
        self._ask(NOT_FOUND, "PATCH", path, {"status": status}, MERGE)


def make_patch(action: Action) -> Object:
    """The merge patch of a PipelineRun that an action is.

    A waiting run has no task that could be ended in order, so it is cancelled outright; one that builds runs its last
    task, which tells how it ended and removes its folder.
    """
    if isinstance(action, Number):
        return {"metadata": {"annotations": {ARRIVAL: str(action.arrival)}}}
    if isinstance(action, Release):
        return {"spec": {"status": None}}
    ending = "CancelledRunFinally" if action.begun else "Cancelled"
    return {"metadata": {"annotations": {SUPERSEDED_BY: action.by}}, "spec": {"status": ending}}
