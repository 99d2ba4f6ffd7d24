"""The task `deploy`: sets an image in a Deployment, waits for that rollout, and goes back if it does not get ready.

Two runs, or a run and a person, may change one Deployment at the same time. So a rollout is judged only as long as the
Deployment has the image that was set here; once it has another one, this deployment is superseded: it neither
succeeded nor failed, and whatever follows is the other's affair. Every change is a JSON patch that tests what it relies
on, so nothing is noted or taken back over somebody else's image.

Runs of one application have numbers in the order in which their commits came (ARRIVAL), and the Deployment has the
number of the run that set its image. A run that finds a larger one there came too late: it is superseded as well, and
changes nothing. A run without a number sets its image whatever is noted.

Where there is no Deployment and the task knows the application's port (PORT), it makes one, and a Service.

Of deploys of one Deployment one goes on at a time: it holds the Lease `deploy-NAME` beside it. All of the above is true
without it as well, so a deploy goes on where its account may not use Leases.

kubectl is only the transport: it knows all forms of kubeconfigs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bootstrap.incluster import default_deployment, lease, rollout
from bootstrap.incluster.lease_holder import LeaseHolder, Lost, Met
from bootstrap.incluster.rollout import Object
from bootstrap.incluster.run_names import ARRIVAL

NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
RECORDED = {"COMMIT": re.compile(r"[0-9a-f]{7,64}"), "RUN": NAME}
"""What is recorded with the image if it has this form: a rollout does not fail for it."""
PORT, LAST_PORT = re.compile(r"[1-9][0-9]{0,4}"), 65535
MEETINGS = 5
"""How often a run looks again because another has set its image at the same moment."""
LOOK_SECONDS = 1.0
STALE_SECONDS = 15.0
"""How long a failure that the Deployment told of before may still be told of after a change."""
BACK_SECONDS = 120.0
"""Limit for going back; the task's own limit may end it earlier, when the old image is set already."""
LEASE_SECONDS = 30
"""How long the Lease is held without a renewal; a third of it lies between two."""
LEASE_LOOK_SECONDS, LEASE_SAID_SECONDS = 5.0, 30.0
"""How often a deploy that waits looks at the Lease, and how often it says who holds it."""
LEAST_SHARE = 1 / 3
"""Of the rollout's limit, for the rollout of a deploy that has waited: so both take no longer than the task may, which
has a third more than the rollout (bootstrap/settings/run_limits.py)."""
SAID_LINES = 5
SAID_CHARACTERS = 300
"""What is shown of a program that does not start: its last lines, each cut."""
LOG_GONE, LOG_TRIES = "unable to retrieve container logs for ", 3
"""The kubelet's answer (1.37, with status 200) where it deleted the container meanwhile that the pod's status names: of
one that is started again and again it keeps the newest only. How often it is asked, until the status names another.
"""


class KubectlFailure(Exception):
    """kubectl ended with a code that is not 0; the text is what it wrote to stderr."""


class Missing(KubectlFailure):
    """There is no such Deployment; the text is a sentence of ours."""


class Stopped(BaseException):
    """The task was cancelled, or its time is over."""


class Failed(Exception):
    """Why the deployment failed or was superseded, in one sentence."""


class Superseded(Failed):
    """Why the Deployment is another's affair, in one sentence that begins with the word."""

    def __init__(self, why: str) -> None:
        super().__init__(f"superseded: {why}")


class Kubectl(Protocol):
    def __call__(self, *words: str, stdin: str = "") -> str:
        """What kubectl prints, given `stdin`. Raises KubectlFailure."""
        ...


@dataclass(frozen=True)
class Place:
    """A container of a Deployment."""

    namespace: str
    name: str
    container: str


# -- the deployment ----------------------------------------------------------------------------------


@dataclass
class Deployer:
    """kubectl: for the namespace of `place`. now: seconds of a clock that does not go back. say: prints a line.

    arrival: the run's number, in digits; "" for none. port: where the application listens, to make a Deployment that is
    missing; 0 makes none. commit, run: what is recorded with the image; "" if that is not known.
    """

    kubectl: Kubectl
    place: Place
    now: Callable[[], float]
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    arrival: str = ""
    port: int = 0
    commit: str = ""
    run: str = ""
    _before: Object = field(default_factory=dict)
    """The Deployment as it was read before the image was set; {} before that."""
    _changed: Object = field(default_factory=dict)
    """The Deployment as the last change left it; {} before the first."""

    def deploy(self, image: str, limit: float) -> None:
        """Set the image and wait up to `limit` seconds for its rollout; go back to the last good image if it fails.

        Raises Failed (Superseded among them), KubectlFailure, Stopped: after that the Deployment is on its way back.
        """
        try:
            self._set_own(image)
            good = rollout.last_good(self._before, self.place.container)
            why = self._wait(image, limit, rollout.condition(self._before, "Progressing").get("lastUpdateTime", ""))
            if why:
                self._explain(image, why)
                stale = self._set_back(image, good)
        except Stopped:
            self._set_back_unasked(image)
            raise
        if not why:
            self._note_good(image)
            return
        again = self._wait(good, BACK_SECONDS, stale)
        if again:
            raise Failed(f"the rollout failed, and so did going back to {good}: {again}")
        raise Failed(f"the rollout failed; {self.place.name} serves {good} again")

    def _read(self) -> Object:
        """The Deployment as it is. Raises KubectlFailure, and Missing if there is none."""
        text = self.kubectl("get", "deployment", self.place.name, "--ignore-not-found", "--output=json")
        if not text.strip():
            raise Missing(f"there is no Deployment {self.place.name} in namespace {self.place.namespace}")
        found: Object = json.loads(text)
        return found

    def _read_or_make(self, image: str) -> Object:
        """The Deployment as it is; if there is none, and the port is known, as it is then made with this image.

        The Service comes first: a run that ends between the two leaves no Deployment without one.
        """
        try:
            return self._read()
        except Missing:
            if not self.port:
                raise
        place = self.place
        made = default_deployment.make_deployment(place.name, place.container, self.port)
        made["metadata"]["annotations"] = self._make_notes(made, image, rollout.RUN)
        rollout.containers(made)[0]["image"] = image
        self.say(f"there is no Deployment {place.name} in namespace {place.namespace}: it is made, with a Service")
        self._create(default_deployment.make_service(place.name, self.port))
        self._create(made)
        return self._read()

    def _create(self, wanted: Object) -> None:
        """Create the object, or go on with one of that name that somebody else made. Raises KubectlFailure."""
        try:
            # It is ours, and the API server checks it: kubectl need not read the descriptions of all kinds for that.
            self.kubectl("create", "--filename=-", "--validate=false", "--output=name", stdin=json.dumps(wanted))
        except KubectlFailure as error:
            if "(AlreadyExists)" not in str(error):
                raise
            self.say(f"{wanted['kind']} {wanted['metadata']['name']} is there already")

    def _patch(self, operations: Sequence[Object]) -> Object:
        words = ("patch", "deployment", self.place.name, "--type=json", f"--patch={json.dumps(operations)}")
        self._changed = json.loads(self.kubectl(*words, "--output=json"))
        return self._changed

    def _set_image(self, found: Object, image: str, how: str, instead_of: str = "") -> list[Object]:
        """A JSON patch of the Deployment as it was found; what it changes is recorded."""
        notes = self._make_notes(found, image, how)
        return [*rollout.set_image(found, self.place.container, image, instead_of), *rollout.annotate(found, notes)]

    def _make_notes(self, found: Object, image: str, how: str) -> dict[str, str]:
        """The annotations that go with the image.

        Going back leaves the number: what was tried is not tried again by a run that came before it.
        """
        if how != rollout.RUN:
            return rollout.make_record(found, self.place.container, image, how)
        number = {ARRIVAL: self.arrival} if self.arrival else {}
        record = rollout.make_record(found, self.place.container, image, how, commit=self.commit, run=self.run)
        return record | number

    def _require_as(self, found: Object) -> list[Object]:
        """A JSON patch that fails once another run's number is noted than in `found`; [] for a run without a number."""
        return rollout.require_arrival(found) if self.arrival else []

    def _set_own(self, image: str) -> None:
        """Set the image of this run, and note its number. Raises Failed, and Superseded if a later run has set its own.

        The patch of one of two runs that meet fails, for the other's number is noted by then. It looks again.
        """
        found, meetings = self._read_or_make(image), 0
        while True:
            self._require_fit(found)
            self._before = found
            try:
                self._patch([*self._require_as(found), *self._set_image(found, image, rollout.RUN)])
            except KubectlFailure:
                meetings += 1
                if not self.arrival or meetings > MEETINGS:
                    raise
                found = self._read()
                if self._require_as(found) == self._require_as(self._before):  # so it failed for another reason
                    raise
            else:
                self.say(f"{self.place.name}: {self.place.container} = {image}")
                return

    def _require_fit(self, found: Object) -> None:
        """Raises Failed for a Deployment that this run cannot change, or must not."""
        name = self.place.name
        if not rollout.image_of(found, self.place.container):
            raise Failed(f"the Deployment {self.place.namespace}/{name} has no container {self.place.container}")
        if found["spec"].get("paused"):
            raise Failed(f"the Deployment {name} is paused; kubectl rollout resume deployment/{name}")
        self._require_newest(found)

    def _require_newest(self, found: Object) -> None:
        """Raises Superseded if a run that came after this one has set an image, be it the same."""
        noted = rollout.read_arrival(found)
        if self.arrival and noted > int(self.arrival):
            raise Superseded(f"{self.place.name} has the image of a later run (number {noted}, this is {self.arrival})")

    def _wait(self, image: str, limit: float, stale: str) -> str:
        begun, told = self.now(), ""
        while True:
            spent = self.now() - begun
            try:
                found = self._read()
            except KubectlFailure as error:
                news = f"the Deployment cannot be read: {error}"
            else:
                self._require_own(found, image)
                if rollout.is_rolled_out(found):
                    return ""
                if rollout.is_overdue(found, stale if spent < STALE_SECONDS else ""):
                    return rollout.condition(found, "Progressing").get("message", rollout.ENDED_OVERDUE)
                news = rollout.describe_progress(found)
            if news != told:
                self.say(news)
                told = news
            if spent >= limit:
                return f"it was not ready within {limit:.0f} s ({news})"
            self.sleep(LOOK_SECONDS)

    def _require_own(self, found: Object, image: str) -> None:
        """Raises Failed if the Deployment has another image than the one that was set here."""
        current = rollout.image_of(found, self.place.container)
        if current != image:
            raise Superseded(f"{self.place.name} was given {current or 'another container'} meanwhile")

    def _note_good(self, image: str) -> None:
        try:
            self._patch(rollout.note_good(self._read(), self.place.container, image))
        except KubectlFailure:
            self._require_own(self._read(), image)
            raise

    def _explain(self, image: str, why: str) -> None:
        self.say(f"the rollout of {image} failed: {why}")
        for line in self._describe_pods(image):
            self.say(line)

    def _set_back(self, image: str, good: str) -> str:
        """Set the good image again; `lastUpdateTime` of the failure that the Deployment tells of then."""
        if good == image:
            raise Failed("the rollout failed, and there is no earlier image to go back to")
        found = self._read()
        self._require_own(found, image)
        self._require_newest(found)
        self.say(f"going back to {good}")
        try:
            self._patch([*self._require_as(found), *self._set_image(found, good, rollout.UNDO, instead_of=image)])
        except KubectlFailure as error:
            found = self._read()
            self._require_own(found, image)
            self._require_newest(found)
            raise Failed(f"the rollout failed, and so did going back to {good}: {error}") from None
        return rollout.condition(found, "Progressing").get("lastUpdateTime", "")

    def _set_back_unasked(self, image: str) -> None:
        """In the seconds that are left: set the good image again if ours is there, and do not wait."""
        good = rollout.last_good(self._before, self.place.container) if self._before else image
        if good == image:
            return
        # Where the answer to our own patch was cut off, nobody knows which number stands there now.
        held = self._require_as(self._changed) if self._changed else []
        try:
            back = self._set_image(self._changed or self._before, good, rollout.UNDO, instead_of=image)
            self._patch([*held, *back])
            self.say(f"ended in the middle of the rollout: {self.place.name} goes back to {good}")
        except KubectlFailure as error:
            self.say(f"ended in the middle of the rollout; it was not taken back: {error}")

    # -- why it is not ready -------------------------------------------------------------------------

    def _describe_pods(self, image: str) -> Iterator[str]:
        """What the pods that have the image say about themselves, and the last lines of the first that said any."""
        try:
            labels = self._read()["spec"]["selector"].get("matchLabels") or {}
            selector = ",".join(f"{key}={value}" for key, value in labels.items())
            pods = json.loads(self.kubectl("get", "pods", f"--selector={selector}", "--output=json"))["items"]
        except KubectlFailure as error:
            yield f"its pods cannot be read: {error}"
            return
        said: list[str] = []
        for pod in pods:
            if any(each.get("image") == image for each in pod["spec"]["containers"]):
                yield from rollout.describe_pod(pod)
                said = said or self._read_last_lines(pod)
        yield from said

    def _read_last_lines(self, pod: Object) -> list[str]:
        """Of the first container that is not ready: what its program printed last, before it ended if it did."""
        for status in pod.get("status", {}).get("containerStatuses") or []:
            if not status.get("ready"):
                text = self._read_log(pod["metadata"]["name"], status["name"], bool(status.get("restartCount")))
                if text:
                    heading = f"{pod['metadata']['name']}/{status['name']} printed last:"
                    return [heading, *(f"  {line[:SAID_CHARACTERS]}" for line in text.splitlines()[-SAID_LINES:])]
        return []

    def _read_log(self, pod: str, container: str, restarted: bool) -> str:
        """The last lines of a container's log, of the one before it if it has been started anew; "" for none."""
        words = ("logs", pod, f"--container={container}", f"--tail={SAID_LINES}")
        for left in reversed(range(LOG_TRIES)):
            gone = False
            for more in (("--previous",), ()) if restarted else ((),):
                try:
                    text = self.kubectl(*words, *more)
                except KubectlFailure:
                    continue  # no such container yet, or no right to read logs in that namespace
                gone = gone or text.startswith(LOG_GONE)
                if text.strip() and not text.startswith(LOG_GONE):
                    return text
            if not gone or not left:
                break
            self.sleep(LOOK_SECONDS)
        return ""


# -- one at a time -----------------------------------------------------------------------------------


class KubectlLeases:
    """A Lease by kubectl. Its calls raise KubectlFailure."""

    def __init__(self, kubectl: Kubectl, name: str) -> None:
        self._kubectl = kubectl
        self._name = name

    def read(self) -> Object | None:
        text = self._kubectl("get", "lease", self._name, "--ignore-not-found", "--output=json")
        found: Object | None = json.loads(text) if text.strip() else None
        return found

    def write(self, wanted: Object) -> Object:
        exists = "resourceVersion" in wanted["metadata"]
        words = ("replace" if exists else "create", "--filename=-", "--validate=false", "--output=json")
        try:
            written: Object = json.loads(self._kubectl(*words, stdin=json.dumps(wanted)))
        except KubectlFailure as error:
            meant = ("(Conflict)", "(NotFound)") if exists else ("(AlreadyExists)",)
            if any(each in str(error) for each in meant):
                raise Met from None
            raise
        return written


@dataclass
class Turn:
    """The Lease of a Deployment, taken before its image is set and given back afterwards.

    holder: with the way to the Lease. sleep, say: as of a Deployer.
    """

    holder: LeaseHolder
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    _renewed: float = 0.0

    def take(self, limit: float) -> float:
        """Wait up to `limit` seconds while another deploy holds the Lease; how many seconds are left then.

        A Lease that cannot be used at all is done without. Raises Failed if another holds it all the time.
        """
        begun, said_at = self.holder.now(), -LEASE_SAID_SECONDS
        while True:
            looked = self.holder.now()
            left = limit - (looked - begun)
            try:
                wait = self.holder.take()
            except KubectlFailure as error:
                if "(Forbidden)" in str(error) or not self.holder.other:  # one that was read once is looked at again
                    self._do_without(error)
                    return left
                wait = LEASE_LOOK_SECONDS
            if self.holder.is_held:
                self._renewed = looked
                return left
            who = self.holder.other or "another deploy"
            if left <= 0:
                raise Failed(f"{who} was still deploying after {limit:.0f} s (Lease {self.holder.name})")
            if self.holder.other and looked >= said_at + LEASE_SAID_SECONDS:
                said_at = looked
                self.say(f"waiting for {who}, which deploys here now (Lease {self.holder.name})")
            self.sleep(max(0.0, min(wait, LEASE_LOOK_SECONDS, left)))

    def _do_without(self, error: KubectlFailure) -> None:
        hint = "; invoke up gives the right to" if "(Forbidden)" in str(error) else ""
        self.say(f"going on without the Lease {self.holder.name}, which cannot be used: {error}{hint}")

    def sleep_on(self, seconds: float) -> None:
        """Sleep, and renew the Lease when that is due. That it is lost is told, and ends nothing."""
        self.sleep(seconds)
        now = self.holder.now()
        if not self.holder.is_held or now < self._renewed + self.holder.seconds / 3:
            return
        try:
            self.holder.renew()
        except Lost as error:
            self.say(f"{error} has taken the Lease {self.holder.name}, which was not renewed in time")
        except (Met, KubectlFailure):
            return  # tried again a second later
        self._renewed = now

    def give_back(self) -> None:
        """Let the next deploy go on at once; where that fails, it waits until the Lease has expired."""
        try:
            self.holder.give_back()
        except (Met, KubectlFailure) as error:
            self.say(f"the Lease {self.holder.name} is not given back: {str(error) or 'it changes at each try'}")


def deploy_in_turn(deployer: Deployer, turn: Turn, image: str, limit: float) -> None:
    """Deploy while the Lease is held. limit: seconds for waiting and for the rollout. Raises as `Deployer.deploy`."""
    try:
        left = turn.take(limit)
        deployer.deploy(image, max(left, limit * LEAST_SHARE))
    finally:
        turn.give_back()


# -- the program -------------------------------------------------------------------------------------


def find_faults(environ: Mapping[str, str]) -> str:
    """What is wrong with the task's parameters; "" if nothing is."""
    for name in ("NAMESPACE", "NAME", "CONTAINER"):
        if not NAME.fullmatch(environ[name]):
            return f'{name} "{environ[name]}" is not a name that Kubernetes would take'
    if not DIGEST.fullmatch(environ["DIGEST"]):
        return "DIGEST is not a digest (sha256: and 64 hexadecimal digits)"
    if not environ["ROLLOUT_SECONDS"].isascii() or not environ["ROLLOUT_SECONDS"].isdigit():
        return "ROLLOUT_SECONDS is not a number of seconds"
    port = environ.get("PORT", "")
    if port and not (PORT.fullmatch(port) and int(port) <= LAST_PORT):
        return f'PORT "{port[:SAID_CHARACTERS]}" is not a port, 1 to {LAST_PORT}'
    if environ.get("ARRIVAL") and not rollout.ARRIVAL_DIGITS.fullmatch(environ["ARRIVAL"]):
        return f"the run's annotation {ARRIVAL} is not a number of at most 30 digits"
    return ""


def _read_recorded(environ: Mapping[str, str], key: str) -> str:
    value = environ.get(key, "")
    return value if RECORDED[key].fullmatch(value) else ""


def run_kubectl(namespace: str) -> Kubectl:
    def kubectl(*words: str, stdin: str = "") -> str:
        argv = ["kubectl", f"--namespace={namespace}", "--request-timeout=30s", *words]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            text = " ".join(done.stderr.split()) or f"kubectl ended with code {done.returncode}"
            if "(Unauthorized)" in text:
                text += "; the token of the target's kubeconfig is no longer valid: invoke up renews it"
            raise KubectlFailure(text)
        return done.stdout

    return kubectl


def stop(*_: object) -> None:
    """For SIGTERM, which Tekton sends to a task that is cancelled or takes too long; once is enough."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def main(environ: Mapping[str, str]) -> int:
    """0 once the image serves; 1 otherwise, with the reason as the last line of stdout.

    That of a run which was superseded is a result of the task as well, for those who see runs and not their logs.
    """

    def say(text: str) -> None:
        print(text, flush=True)  # noqa: T201  the task's log

    fault = find_faults(environ)
    if fault:
        say(f"deploy: {fault}")
        return 1
    place = Place(environ["NAMESPACE"], environ["NAME"], environ["CONTAINER"])
    kubectl, arrival, port = run_kubectl(place.namespace), environ.get("ARRIVAL", ""), int(environ.get("PORT") or 0)
    commit, run = (_read_recorded(environ, key) for key in RECORDED)
    name = lease.make_deploy_name(place.name)
    who = run or environ.get("HOSTNAME") or "a deploy without a name"
    turn = Turn(LeaseHolder(KubectlLeases(kubectl, name), place.namespace, name, who, LEASE_SECONDS), time.sleep, say)
    deployer = Deployer(kubectl, place, time.monotonic, turn.sleep_on, say, arrival, port, commit, run)
    signal.signal(signal.SIGTERM, stop)
    try:
        image, limit = f"{environ['IMAGE']}@{environ['DIGEST']}", float(environ["ROLLOUT_SECONDS"])
        deploy_in_turn(deployer, turn, image, limit)
    except (Failed, KubectlFailure) as error:
        say(f"deploy: {error}")
        if isinstance(error, Superseded) and environ.get("RESULT_SUPERSEDED"):
            Path(environ["RESULT_SUPERSEDED"]).write_text(str(error))
        return 1
    except Stopped:
        say("deploy: cancelled, or its time is over")
        return 1
    say(f"{place.name} serves {environ['IMAGE']}@{environ['DIGEST']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
