"""The adapter for kind: creates and deletes clusters; what is inside them is `kube`'s."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from bootstrap.world.engine import messages
from bootstrap.world.engine.protocol import Engine
from bootstrap.world.shell import Shell

CREATE_LIMIT = 600.0

# What kind prints, as far as it is read. Nobody else matches texts of kind's. Read from kind 0.33.0, that of
# images/tools/go.mod: pkg/internal/cli/status.go, pkg/cluster/internal/create/create.go and its actions.

PHASE = re.compile(r" • (\w)([ -~]*[\w)])\W*")
"""A phase that begins, where kind has no terminal: " • Joining worker nodes 🚜  ..."; a picture ends most."""
INSTALLING_CNI = "installing CNI"
"""The phase in which the control plane runs, and the workers wait to be joined."""
NODES_EXIST = "already exist for a cluster"
"""'node(s) already exist for a cluster with the name "demo"'"""


class Kind:
    """kind's program, run against one engine and one docker network.

    proxy: variables that kind hands to the nodes. Methods raise CommandError (evidence: what kind said) and TimedOut.
    """

    def __init__(self, shell: Shell, engine: Engine, program: Path, network: str, proxy: Mapping[str, str]) -> None:
        self._shell = shell
        self._engine = engine
        self._program = program
        self._network = network
        self._proxy = proxy

    def create_cluster(self, name: str, config: str, node_image: str, on_phase: Callable[[str], None]) -> None:
        """Create the cluster; kind adds the context kind-NAME to the user's kubeconfig.

        What is half made stays after an error.

        config: kind configuration as YAML text. on_phase: hears what kind does now, see `read_phase`. Raises
        CommandError, and TimedOut after CREATE_LIMIT seconds.
        """

        def hear(line: str) -> None:
            phase = read_phase(line)
            if phase:
                on_phase(phase)

        argv = ["create", "cluster", "--name", name, "--image", node_image, "--config", "-", "--wait", "0s", "--retain"]
        self._run(*argv, stdin=config, limit=CREATE_LIMIT, hear=hear)

    def delete_cluster(self, name: str, kubeconfig: str = "") -> None:
        """Delete nodes and context; fine when there is nothing.

        kubeconfig: the file that has the context, "" for the user's.
        """
        file = [f"--kubeconfig={kubeconfig}"] if kubeconfig else []
        self._run("delete", "cluster", "--name", name, *file, limit=120)

    def export_kubeconfig(self, name: str) -> None:
        """Add the context kind-NAME to the user's kubeconfig again, as `create_cluster` did."""
        self._run("export", "kubeconfig", "--name", name, limit=30)

    def read_kubeconfig(self, name: str) -> str:
        """The cluster's kubeconfig with its context kind-NAME, as seen from the host."""
        return self._run("get", "kubeconfig", "--name", name, limit=30)

    def read_internal_kubeconfig(self, name: str) -> str:
        """The same with the address that containers on the cluster's network use."""
        return self._run("get", "kubeconfig", "--internal", "--name", name, limit=30)

    def _run(
        self,
        *arguments: str,
        stdin: str | None = None,
        limit: float,
        hear: Callable[[str], None] | None = None,
    ) -> str:
        environ = {**self._engine.make_environ(), **self._proxy, "KIND_EXPERIMENTAL_DOCKER_NETWORK": self._network}
        argv = [str(self._program), *arguments]
        return self._shell.run(argv, env=environ, stdin=stdin, limit=limit, on_line=hear).stdout


def read_phase(line: str) -> str:
    """The phase that a line of kind's output names: "joining worker nodes"; "" for another line."""
    found = PHASE.fullmatch(line.rstrip())
    return found[1].lower() + found[2] if found else ""


def nodes_exist(evidence: str) -> bool:
    """Whether `create_cluster` failed because a node is there already.

    evidence: what kind said, with what the engine's client said to it, which kind passes on.
    """
    return NODES_EXIST in evidence or messages.is_name_in_use(evidence)
