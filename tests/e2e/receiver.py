"""A web hook's other end, as a pod of the cluster: prints each message that it is sent as one line of JSON.

Below /robot it is one of DingTalk's: it checks signature and time, refuses with HTTP 200 and a code, and is busy at
every other message.
"""

from __future__ import annotations

import json
from typing import Any

from bootstrap.model import Object, Ready, Verdict
from bootstrap.readiness import readiness
from bootstrap.wait import until
from bootstrap.world import World

NAMESPACE = "e2e"
PROGRAM = """
import base64, hashlib, hmac, http.server, itertools, json, time, urllib.parse

SECRET = "SECe2e"
count = itertools.count()

def robot(query, body):
    stamp = query.get("timestamp", ["0"])[0]
    signed = hmac.new(SECRET.encode(), f"{stamp}\\n{SECRET}".encode(), hashlib.sha256).digest()
    if abs(time.time() - int(stamp) / 1000) > 3600 or query.get("sign") != [base64.b64encode(signed).decode()]:
        return {"errcode": 310000, "errmsg": "sign not match"}
    if body.get("msgtype") != "markdown" or len(body["markdown"]["text"].encode()) > 20000:
        return {"errcode": 40035, "errmsg": "bad message"}
    return {"errcode": 0 if next(count) % 2 else 130101, "errmsg": "told"}

class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(parts.query)
        if parts.path == "/robot":
            answer = robot(query, body)
            body = {"robot": body, "answer": answer}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())
        else:
            self.send_response(204)
            self.end_headers()
        print(json.dumps({"length": len(query.get("token", [""])[0]), "body": body}), flush=True)
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", 8080), Hook).serve_forever()
"""


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
        world.images.lock().images["toolbox"].reference,
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
        return readiness(world.kube.get("v1", "Pod", name, NAMESPACE))

    verdict = until(probe, clock=world.clock, limit=90, what=f"pod {name}")
    assert isinstance(verdict, Ready), verdict


def received(world: World) -> list[dict[str, Any]]:
    """The messages so far, the oldest first."""
    lines = world.kube.log(NAMESPACE, "receiver").splitlines()
    return [json.loads(line)["body"] for line in lines]
