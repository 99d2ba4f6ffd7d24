"""What is built, from what: the list of parts, as data.

The repr of a part is an input of its key, so fields that do not change the result are left out of the repr.
Costs are seconds of a cold build on two cores, measured once; they only weigh the progress estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bootstrap.core.constants import DEMO_APP

PIPELINE = "github.com/tektoncd/pipeline"
TRIGGERS = "github.com/tektoncd/triggers"


@dataclass(frozen=True)
class SourceEdit:
    """A text of a dependency's source that is compiled otherwise than its authors wrote it, where it has a known fault.

    module: the dependency. file: its path in there. before: stands in it exactly once.
    """

    module: str
    file: str
    before: str
    after: str


@dataclass(frozen=True)
class GoPart:
    """Programs from one go.mod. module: its folder in the checkout. packages: program -> Go package.

    version_of: the dependency whose version becomes Kubernetes' own (`gitVersion`). native: built for this machine, not
    for the nodes.
    """

    name: str
    module: str
    packages: Mapping[str, str]
    cost: int = field(repr=False)
    tags: str = ""
    ldflags: str = ""
    version_of: str = ""
    native: bool = False
    needs: tuple[str, ...] = ()
    edits: tuple[SourceEdit, ...] = field(default=(), repr=False)


PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
"""Those of Ubuntu 22.04 and Debian 12 and of what came after them: an image has that of its base."""


def name_archive(python: str) -> str:
    """The file of a wheel part with the packages for that version of Python: "3.11" -> "python3.11.zip"."""
    return f"python{python}.zip"


@dataclass(frozen=True)
class WheelPart:
    """Python packages, for the nodes' architecture and each of `pythons`. requirements: their lock in the checkout."""

    name: str
    requirements: str
    cost: int = field(repr=False)
    pythons: tuple[str, ...] = PYTHONS


@dataclass(frozen=True)
class ImagePart:
    """One image from a Dockerfile. folder: that of its build context in the checkout.

    bases: build argument -> image part. files: path in the context -> "PART/FILE", of a Go part or wheel part.
    copies: path in the context -> file or folder of the checkout.
    preload: the node image holds it. exported: it is needed as an OCI layout, not only in the engine.
    """

    name: str
    folder: str
    cost: int = field(repr=False)
    bases: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    preload: bool = field(default=True, repr=False)
    exported: bool = field(default=True, repr=False)

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the parts that it is made from."""
        return (*self.bases.values(), *(source.split("/")[0] for source in self.files.values()))


GO_PARTS = (
    GoPart(
        "go-tools",
        "images/tools",
        {
            "kind": "sigs.k8s.io/kind",
            "ko": "github.com/google/ko",
            "crane": "github.com/google/go-containerregistry/cmd/crane",
        },
        cost=60,
        native=True,
    ),
    GoPart(
        "go-kubernetes",
        "images/kubernetes",
        {
            "kube": "./cmd/kube",
            "coredns": "./cmd/coredns",
            "kubectl": "k8s.io/kubernetes/cmd/kubectl",
        },
        cost=310,
        version_of="k8s.io/kubernetes",
    ),
    # A command of its own: it spells one import path with a capital that the others do not, which
    # `go build` refuses to mix. It still shares the go.mod, and so the compiled packages.
    GoPart(
        "go-storage",
        "images/kubernetes",
        {"local-path-provisioner": "github.com/rancher/local-path-provisioner"},
        cost=5,
        needs=("go-kubernetes",),
        # Every 30 s it takes a lock to read its settings again, and whoever asks for a volume takes the same one twice:
        # where the first comes between, both wait for ever, and no claim gets a volume any more (seen in 0.0.30; the
        # same in 0.0.33). Ours never change.
        edits=(
            SourceEdit(
                "github.com/rancher/local-path-provisioner",
                "provisioner.go",
                "ConfigFileCheckInterval = 30 * time.Second",
                "ConfigFileCheckInterval = 100 * 365 * 24 * time.Hour",
            ),
        ),
    ),
    GoPart("go-etcd", "images/etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, cost=29),
    GoPart(
        "go-containerd",
        "images/containerd",
        {
            name: f"github.com/containerd/containerd/v2/cmd/{name}"
            for name in ("containerd", "ctr", "containerd-shim-runc-v2")
        },
        cost=77,
        tags="no_btrfs,no_devmapper,no_zfs",
    ),
    GoPart(
        "go-buildkit",
        "images/buildkit",
        {name: f"github.com/moby/buildkit/cmd/{name}" for name in ("buildkitd", "buildctl")},
        cost=132,
    ),
    GoPart("go-pause", "images/pause", {"pause": "."}, cost=1),
    GoPart("go-nodenet", "images/nodenet", {"nodenet": "."}, cost=5),
    GoPart("go-git-server", "images/git-server", {"git-server": "."}, cost=5),
    GoPart("go-echo-first", "demo/go-echo", {"go-echo": "."}, cost=5, ldflags="-X main.commit=first"),
)

TEKTON_EDITS = (
    # The listener reads and parses all of a body before it looks at a signature: 10 MB of "[0,0,0,...]" take 250 MB,
    # and it has 512. So a body has a limit, and of those that are not small two are handled, and one is parsed, at a
    # time. Eight at a time ended a listener that had 256 MiB.
    # docs/webhooks.md says what becomes of an event that is larger.
    SourceEdit(
        TRIGGERS,
        "pkg/sink/validate_payload.go",
        """	"io"
	"net/http"
)
""",
        """	"errors"
	"io"
	"net/http"
	"sync"
)

const (
	maxBody   = 2 << 20
	smallBody = 64 << 10
)

var (
	largeBodies = make(chan struct{}, 2)
	parsing     sync.Mutex
)

func parse(payload []byte, event *map[string]interface{}, large bool) error {
	if large {
		parsing.Lock()
		defer parsing.Unlock()
	}
	return json.Unmarshal(payload, event)
}
""",
    ),
    SourceEdit(
        TRIGGERS,
        "pkg/sink/validate_payload.go",
        """		payload, err := io.ReadAll(request.Body)
""",
        """		if request.ContentLength > maxBody {
			r.recordCountMetrics(failTag)
			response.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		large := request.ContentLength < 0 || request.ContentLength > smallBody
		if large {
			largeBodies <- struct{}{}
			defer func() { <-largeBodies }()
		}
		payload, err := io.ReadAll(http.MaxBytesReader(response, request.Body, maxBody))
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			r.recordCountMetrics(failTag)
			response.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
""",
    ),
    SourceEdit(
        TRIGGERS,
        "pkg/sink/validate_payload.go",
        "json.Unmarshal(payload, &event)",
        "parse(payload, &event, large)",
    ),
)
"""Of what Tekton's images are compiled from."""

WHEEL_PARTS = (WheelPart("manager-wheels", "images/manager/requirements.txt", cost=60),)

INCLUSTER = ("bootstrap/__init__.py", "bootstrap/incluster")
"""What of this package runs in the cluster; it imports nothing else of it."""
IMAGE_PARTS = (
    ImagePart("kube", "images/kube", 20, {"BASE": "base"}, {"kube": "go-kubernetes/kube"}),
    ImagePart("etcd", "images/etcd", 3, {"STATIC": "static"}, {"etcd": "go-etcd/etcd"}),
    ImagePart("coredns", "images/coredns", 4, {"STATIC": "static"}, {"coredns": "go-kubernetes/coredns"}),
    ImagePart(
        "local-path-provisioner",
        "images/local-path-provisioner",
        4,
        {},
        {"local-path-provisioner": "go-storage/local-path-provisioner"},
    ),
    ImagePart("pause", "images/pause", 2, {}, {"pause": "go-pause/pause"}),
    ImagePart("nodenet", "images/nodenet", 2, {}, {"nodenet": "go-nodenet/nodenet"}),
    ImagePart(DEMO_APP, "images/go-echo", 2, {}, {"go-echo": "go-echo-first/go-echo"}),
    ImagePart("git", "images/git", 20, {"BASE": "base"}, preload=False),
    ImagePart(
        "toolbox",
        "images/toolbox",
        20,
        {"BASE": "git"},
        {"kubectl": "go-kubernetes/kubectl", "buildctl": "go-buildkit/buildctl"},
        {path: path for path in INCLUSTER},
    ),
    ImagePart(
        "manager",
        "images/manager",
        8,
        {"BASE": "toolbox"},
        {name: f"manager-wheels/{name}" for name in map(name_archive, PYTHONS)},
        {"bootstrap/manager": "bootstrap/manager"},
    ),
    ImagePart("git-server", "images/git-server", 3, {"BASE": "git"}, {"git-server": "go-git-server/git-server"}),
    ImagePart(
        "buildkit",
        "images/buildkit",
        20,
        {"BASE": "git"},
        {"buildkitd": "go-buildkit/buildkitd", "buildctl": "go-buildkit/buildctl"},
    ),
    ImagePart("registry", "images/registry", 20, {"BASE": "base"}, preload=False, exported=False),
)

TEKTON_COST = 300
BASE_COST = 50
STATIC_COST = 3
GOLANG_COST = 90
NODE_COST = 120
