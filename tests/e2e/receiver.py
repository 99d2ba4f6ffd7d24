"""A web hook's other end, as a pod of the cluster: prints each message that it is sent as one line of JSON.

At /KIND/robot it is one of the chat robots of tests/robot_host.py. What is asked for below /hang is never answered.
"""

from __future__ import annotations

import json
from typing import Any

from bootstrap.core.model import Object, Ready, Verdict
from bootstrap.core.paths import PROJECT
from bootstrap.core.wait import until
from bootstrap.objects.readiness import judge
from bootstrap.world import World

NAMESPACE = "e2e"
HANG = "http://receiver.e2e.svc.cluster.local:8080/hang/app.git"
"""A repository whose server hangs."""
HOOK = """
def printed(text):
    try:
        return json.loads(text)
    except ValueError:
        return text.decode()

class Hook(Handler):
    robots = Robots()
    def do_POST(self):
        if not self.path.startswith("/hook"):
            super().do_POST()
            return
        body = printed(self.rfile.read(int(self.headers["Content-Length"])))
        token = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("token", [""])[0]
        self.send_response(204)
        self.end_headers()
        print(json.dumps({"length": len(token), "body": body}), flush=True)
    def heard(self, body, answer):
        print(json.dumps({"body": {"robot": printed(body), "answer": printed(answer)}}), flush=True)
    def do_GET(self):
        if self.path.startswith("/hang"):
            time.sleep(600)
        self.send_response(200)
        self.end_headers()

http.server.ThreadingHTTPServer(("", 8080), Hook).serve_forever()
"""
PROGRAM = (PROJECT / "tests/robot_host.py").read_text() + HOOK


def restricted(name: str, image: str, **container: Any) -> Object:
    """A pod that fits a namespace which enforces `restricted`."""
    tight = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    user = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": user,
            "containers": [{"name": name, "image": image, "securityContext": tight, **container}],
        },
    }


def install(world: World) -> None:
    """The receiver, ready to be sent to at http://receiver.e2e.svc.cluster.local:8080."""
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    pod = restricted(
        "receiver",
        world.images.read_lock().images["toolbox"].reference,
        command=["python3", "-u", "-c", PROGRAM],
        readinessProbe=probe,
    )
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "receiver", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "receiver"}, "ports": [{"port": 8080}]},
    }
    world.kube.apply([space, pod, service])
    wait_for_pod(world, "receiver")


def wait_for_pod(world: World, name: str) -> None:
    def probe() -> Verdict:
        return judge(world.kube.get("v1", "Pod", name, NAMESPACE))

    verdict = until(probe, clock=world.clock, limit=90, what=f"pod {name}")
    assert isinstance(verdict, Ready), verdict


def received(world: World) -> list[dict[str, Any]]:
    """The messages so far, the oldest first."""
    lines = world.kube.read_log(NAMESPACE, "receiver").splitlines()
    return [json.loads(line)["body"] for line in lines]
