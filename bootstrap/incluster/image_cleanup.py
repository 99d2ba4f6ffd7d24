"""Deletes images of builds that nothing needs; bootstrap.incluster.image_retention decides which.

Runs in the cluster as the CronJob `image-cleanup`, on the standard library. An image is needed while a run that is
there names it, by its commit or its digest, or any workload of the cluster does. The registry is looked at first and
the cluster after it: an image that was listed has its run already. If one list is missing, nothing is deleted.

What is deleted here no longer has a name in the registry. The registry frees the room itself: images/registry/serve.sh.

Environment: NAMESPACE (of the runs), CRON_JOB (its name), REGISTRY (HOST:PORT), CA (PEM file), LOGIN (folder with
`username` and `password`), KEEP_REPOSITORIES (separated by spaces, may be ""), DRY_RUN ("on", "off"). Ends with 1 if a
variable is wrong, something could not be listed, or an image could not be deleted; an event tells it too.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from bootstrap.incluster import image_retention
from bootstrap.incluster.image_retention import ExpiredImage, Image
from bootstrap.incluster.kube_api import Api, ApiFailure, write_event
from bootstrap.incluster.patient_api import PatientApi
from bootstrap.incluster.registry_api import RegistryApi, RegistryFailure

RUNS = ("pipelineruns", "taskruns")
WORKLOADS = (
    "/api/v1/pods",
    *(f"/apis/apps/v1/{plural}" for plural in ("deployments", "replicasets", "statefulsets", "daemonsets")),
    *(f"/apis/batch/v1/{plural}" for plural in ("jobs", "cronjobs")),
)
"""Of all namespaces. A Deployment's annotations are its record of rollouts, by which one can go back."""
BATCH = 50
"""Images after which the cluster is looked at again: a run may have begun to build the same commit once more."""


class ImageCleanup:
    """Deletes the images that nothing needs.

    namespace: of the runs. say: prints one line. clock: seconds since the epoch. sleep: seconds. cron_job: of which
    events tell.
    """

    def __init__(
        self,
        api: Api,
        registry: RegistryApi,
        namespace: str,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        cron_job: str = "image-cleanup",
    ) -> None:
        self._api = PatientApi(api, sleep)
        self._registry = registry
        self._namespace = namespace
        self._say = say
        self._clock = clock
        self._cron_job = cron_job

    def start(self, environ: Mapping[str, str]) -> int:
        """As `run`, with the options of these variables. Deletes nothing and answers 1 if one of them is wrong."""
        dry_run = environ.get("DRY_RUN", "off")
        if dry_run not in ("on", "off"):
            why = f"DRY_RUN is {dry_run!r}, and not on or off"
            self._say(why)
            self._write_event(why)
            return 1
        return self.run(environ.get("KEEP_REPOSITORIES", "").split(), dry_run=dry_run == "on")

    def run(self, kept: Collection[str] = (), *, dry_run: bool = False) -> int:
        """Delete the images that nothing needs, and write an event about failures.

        kept: repositories that are not touched. Answers the exit code: 0 if each of these images is deleted.
        """
        try:
            failed = self.clean(kept, dry_run=dry_run)
        except (ApiFailure, RegistryFailure) as error:
            failed = [f"the images could not be compared with what needs them: {error.strerror}"]
            self._say(failed[0])
        if failed:
            self._write_event("; ".join(failed))
        return 1 if failed else 0

    def clean(self, kept: Collection[str], *, dry_run: bool) -> list[str]:
        """Delete the images that nothing needs; answers those that could not be, each with its cause.

        Raises ApiFailure and RegistryFailure if listing fails.
        """
        images = list(self._list_images(kept))
        names = self._list_names()
        expired = image_retention.find_expired(images, names)
        failed, deleted = [], 0
        for number, each in enumerate(expired):
            if number and number % BATCH == 0 and not dry_run:
                names = self._list_names()
            if each.image.is_needed(names):
                continue
            why = self._remove(each, dry_run=dry_run)
            failed += [why] if why else []
            deleted += 0 if why else 1
        total = sum(each.is_built for each in images)
        told = "to delete" if dry_run else "deleted"
        more = f", failed: {len(failed)}" if failed else ""
        self._say(f"images of builds: {total}, needed: {total - deleted - len(failed)}, {told}: {deleted}{more}")
        return failed

    def _list_images(self, kept: Collection[str]) -> Iterator[Image]:
        """All images with tags in the repositories of builds. Raises RegistryFailure."""
        for repository in image_retention.find_repositories(self._registry.list_repositories(), kept):
            tags: dict[str, list[str]] = {}
            children: dict[str, tuple[str, ...]] = {}
            for tag in self._registry.list_tags(repository):
                found = self._registry.read_manifest(repository, tag)
                if found:
                    tags.setdefault(found.digest, []).append(tag)
                    children[found.digest] = found.children
            for digest, own in tags.items():
                yield Image(repository, digest, tuple(own), children[digest])

    def _list_names(self) -> set[str]:
        """Every digest and commit that runs and workloads name. Raises ApiFailure."""
        names: set[str] = set()
        runs = (f"/apis/tekton.dev/v1/namespaces/{self._namespace}/{plural}" for plural in RUNS)
        for path in (*runs, *WORKLOADS):
            for each in self._api.list_objects(path):
                names |= image_retention.find_names(json.dumps(each))
        return names

    def _remove(self, expired: ExpiredImage, *, dry_run: bool) -> str:
        """Delete one image; answers why that failed, or ""."""
        repository = expired.image.repository
        name = f"{repository}:{', '.join(expired.image.tags)}"
        if dry_run:
            self._say(f"would delete {name}")
            return ""
        try:
            for digest in expired.digests:
                self._registry.delete_manifest(repository, digest)
        except RegistryFailure as error:
            why = f"{name}: {error.strerror}"
            self._say(f"kept {why}")
            return why
        self._say(f"deleted {name}")
        return ""

    def _write_event(self, message: str) -> None:
        write_event(
            self._api.request,
            self._say,
            namespace=self._namespace,
            cron_job=self._cron_job,
            reason="CleanupFailed",
            message=message,
            seconds=self._clock(),
        )


def main(environ: Mapping[str, str]) -> int:
    """Clean up as the variables say; answers the exit code."""

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    registry = RegistryApi(environ["REGISTRY"], Path(environ["CA"]), Path(environ["LOGIN"]))
    with closing(Api.from_environ(environ)) as api, closing(registry):
        name = environ.get("CRON_JOB", "image-cleanup")
        return ImageCleanup(api, registry, environ["NAMESPACE"], say, cron_job=name).start(environ)


if __name__ == "__main__":
    sys.exit(main(os.environ))
