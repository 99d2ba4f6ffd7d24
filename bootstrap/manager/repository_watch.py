"""The central repository: what is pushed to its branch becomes the environment's Applications, a commit as a whole.

A commit is judged before anything is changed: every file is read, and the API server says in a dry run what it would
refuse. If anything is wrong, nothing of the commit is applied. An Application that left the repository is deleted only
after a commit was read, judged and applied to its end; so no look that failed deletes anything.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from bootstrap.incluster.application_source import (
    APPLIED,
    REFUSED,
    SHOWN_FAULTS,
    UNFINISHED,
    Source,
    SourceState,
    is_from_repository,
)
from bootstrap.incluster.applications import ApplicationFault, find_faults, read_application
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.poll import RepositoryUnreadable
from bootstrap.manager.cluster import ClusterFailure
from bootstrap.manager.declaration_files import Declared, Fault, read_declarations
from bootstrap.manager.repositories import Folder
from bootstrap.manager.shared_state import SharedState

LOG = logging.getLogger("manager")
TICK_SECONDS = 1.0
AGAIN_SECONDS = 300.0
"""How often a commit that was looked at is gone through again: what was changed by hand since becomes as it says."""
FAULT_LENGTH = 400
OF_THE_FILE = (400, 409, 422)
"""The API's statuses that are the object's fault, and not the server's."""
NOT_OF_THE_SCHEMA = "failed to create typed patch object"
"""How the API server's answer to a field that is unknown or of another type begins; its status is 500."""


class Effects(Protocol):
    """What is asked of the cluster, see `cluster.Cluster`."""

    def create_repository(self, url: str) -> None: ...
    def list_applications(self) -> list[Object]: ...
    def declare(self, obj: Object, *, dry_run: bool = False) -> None: ...
    def delete_application(self, name: str) -> None: ...
    def read_source_state(self) -> SourceState: ...
    def write_source_state(self, state: SourceState) -> None: ...
    def write_source_event(self, reason: str, message: str, *, warns: bool) -> None: ...


class Reader(Protocol):
    """What is asked of the repository, see `repositories.Repositories`."""

    def read_head(self, source: Source) -> str: ...
    def read_folder(self, source: Source, commit: str) -> Folder: ...


class RepositoryWatch:
    """Looks at the central repository, and applies what it declares.

    source: None if there is none. namespace: of Applications. registry: see `read_application`. clock: seconds since
    the epoch.
    """

    def __init__(
        self,
        cluster: Effects,
        reader: Reader,
        source: Source | None,
        namespace: str,
        registry: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._reader = reader
        self._source = source
        self._namespace = namespace
        self._registry = registry
        self._clock = clock
        self._state: SourceState | None = None
        self._next = 0.0
        self._judged, self._again_at = "", 0.0
        self._is_made = False

    def look(self) -> bool:
        """Look if it is time to; False if a look failed. What is wrong is told in the cluster, and raised nowhere."""
        now = self._clock()
        if now < self._next:
            return True
        self._next = now + (self._source.seconds if self._source else AGAIN_SECONDS)
        try:
            state = self._read_state()
            if self._source is None:
                self._tell(SourceState())
                return True
            self._apply_head(self._source, state)
        except RepositoryUnreadable as error:
            self._next = max(self._next, now + error.retry_after)
            return self._tell_failure(f"the repository cannot be read: {error}")
        except ClusterFailure as error:
            return self._tell_failure(str(error))
        except ApiFailure as error:
            return self._tell_failure(str(error.strerror))
        return True

    def _read_state(self) -> SourceState:
        """As the ConfigMap has it; that of another repository says nothing on this one."""
        if self._state is None:
            self._state = self._cluster.read_source_state()
        if self._source and self._state.mark != self._source.mark:
            return SourceState(self._source.mark)
        return self._state

    def _apply_head(self, source: Source, state: SourceState) -> None:
        if source.is_hosted and not self._is_made:
            self._cluster.create_repository(source.url)
            self._is_made = True
        head = self._reader.read_head(source)
        if not head:
            self._judged = ""
            self._tell(replace(state, state=UNFINISHED, why=f"there is no branch {source.branch}", faults=()))
            return
        if head == self._judged and self._clock() < self._again_at and state.state != UNFINISHED:
            return
        folder = self._reader.read_folder(source, head)
        existing = {str(each["metadata"]["name"]): each for each in self._cluster.list_applications()}
        declared, faults = self._judge(source, folder, existing)
        self._judged, self._again_at = head, self._clock() + AGAIN_SECONDS
        if faults:
            told = tuple(str(each)[:FAULT_LENGTH] for each in faults[:SHOWN_FAULTS])
            self._tell(replace(state, state=REFUSED, commit=head, faults=told, why=""))
            return
        wanted = {each.name for each in declared}
        left = sorted(name for name, obj in existing.items() if source.declares(obj) and name not in wanted)
        self._judged = ""  # until it is done
        self._apply(head, declared, left)
        self._judged = head
        at = state.at if state.applied == head else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        self._tell(SourceState(source.mark, APPLIED, head, head, at, len(declared)))

    def _apply(self, head: str, declared: Sequence[Declared], left: Sequence[str]) -> None:
        """left: names of those that left the repository. Raises ClusterFailure."""
        try:
            for each in declared:
                self._cluster.declare(each.obj)
            for name in left:
                self._cluster.delete_application(name)
                LOG.info("application %s left the repository: deleted", name)
        except ApiFailure as error:
            raise ClusterFailure(f"{head[:7]} is applied in part, and tried again: {error.strerror}") from None

    def _judge(
        self, source: Source, folder: Folder, existing: Mapping[str, Object]
    ) -> tuple[list[Declared], list[Fault]]:
        """What the commit declares, and all that is wrong with it. Raises ApiFailure if the server does not tell."""
        if not folder.is_there:
            where = f"folder {source.path}" if source.path else "file"
            return [], [Fault("", 0, f"there is no {where} in this commit; to remove all Applications, leave a README")]
        declared, faults = read_declarations(folder.contents, source, self._namespace)
        faults += [Fault(path, 0, why) for path, why in folder.others.items()]
        for each in declared:
            if each.name in existing and not is_from_repository(existing[each.name]):
                why = f"application {each.name} is there already, and was not declared here; see docs/applications.md"
                faults.append(each.make_fault(why))
        if not faults:
            faults = [fault for each in declared if (fault := self._find_refusal(each))]
        if not faults:
            faults = self._find_claims(source, declared, existing)
        return declared, sorted(faults, key=lambda each: (each.file, each.line))

    def _find_refusal(self, declared: Declared) -> Fault | None:
        """What the API server says in a dry run. Raises ApiFailure if that is not on the object."""
        try:
            self._cluster.declare(declared.obj, dry_run=True)
        except ApiFailure as error:
            why = str(error.strerror).partition(" from the API: ")[2] or str(error.strerror)
            of_schema = why.startswith(NOT_OF_THE_SCHEMA)
            if error.status not in OF_THE_FILE and not of_schema:
                raise
            told = why.partition("): ")[2] or why if of_schema else why
            return declared.make_fault(re.sub(r"&value\.valueUnstructured\{Value:(.*?)\}", r"\1", told))
        return None

    def _find_claims(self, source: Source, declared: Sequence[Declared], existing: Mapping[str, Object]) -> list[Fault]:
        """What the schema cannot see: two that claim one Deployment or image."""
        wanted = {each.name for each in declared}
        others = []
        for name, obj in existing.items():
            if name not in wanted and not source.declares(obj):
                try:
                    others.append(read_application(obj, self._registry))
                except ApplicationFault:
                    continue  # nothing of it is built
        faults = []
        for each in declared:
            try:
                application = read_application(each.obj, self._registry)
            except ApplicationFault as error:
                faults.append(each.make_fault(str(error)))
                continue
            faults += [each.make_fault(why) for why in find_faults(application, others)]
            others.append(application)
        return faults

    def _tell_failure(self, why: str) -> bool:
        """Say what kept a look from its end; what is applied stays."""
        if self._source is None or self._state is None:
            LOG.warning("the central repository: %s", why)
            return False
        self._tell(replace(self._read_state(), state=UNFINISHED, why=why[:FAULT_LENGTH], faults=()))
        return False

    def _tell(self, state: SourceState) -> None:
        """Write what changed, and an Event of it. A write that fails is made up for by the next look."""
        if state == self._state:
            return
        said = state.describe()
        try:
            self._cluster.write_source_state(state)
            self._state = state
            if state.mark:
                self._cluster.write_source_event(state.state, f"{state.mark}: {said}", warns=not state.is_well)
        except ApiFailure as error:
            LOG.warning("the state of the central repository is not written: %s", error.strerror)
        LOG.log(logging.INFO if state.is_well else logging.WARNING, "%s: %s", state.mark or "no repository", said)


async def watch_repository(watch: RepositoryWatch, state: SharedState) -> None:
    """Look whenever it is time to, without end. What is slow there holds up nothing else."""
    while True:
        try:
            state.failures += not await asyncio.to_thread(watch.look)
        except Exception:  # the next look is to come all the same
            LOG.exception("the central repository")
            state.failures += 1
        await asyncio.sleep(TICK_SECONDS)
