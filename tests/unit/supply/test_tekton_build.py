"""Tekton resolved by ko: which images, and by what names its objects call them afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.core.errors import CommandError
from bootstrap.supply import tekton_build
from bootstrap.supply.build_catalog import PIPELINE, TRIGGERS
from bootstrap.supply.golang import Go, Toolchain
from bootstrap.world.shell import Output
from tests.unit.fakes import FakeClock

REGISTRY = "127.0.0.1:40123"
DIGEST = "@sha256:" + "a" * 64


class Serving:
    """crane's registry: it says its port at once, or ends without a word."""

    pid = 1

    def __init__(self, *, dies: bool = False) -> None:
        self.dies = dies
        self.stopped = False

    def is_alive(self) -> bool:
        return not self.dies

    def stop(self, grace: float = 5) -> None:
        self.stopped = True

    def read_tail(self) -> str:
        return "address already in use"


class Tools:
    """ko, crane and go, as far as a build uses them. texts: what ko resolves each config folder to."""

    def __init__(self, texts: Mapping[str, str], serving: Serving) -> None:
        self.texts = texts
        self.serving = serving
        self.ran: list[list[str]] = []
        self.environ: Mapping[str, str] = {}

    def which(self, program: str) -> str | None:
        raise AssertionError(program)

    def start(self, argv: Sequence[str], *, on_line: Callable[[str], None] | None = None, **_: Any) -> Serving:
        assert on_line
        assert list(argv) == ["/bin/crane", "registry", "serve", "--address=127.0.0.1:0"]
        if not self.serving.dies:
            on_line("2026/01/01 serving on port 40123")
        return self.serving

    def run(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **_: Any) -> Output:
        self.ran.append(list(argv))
        if argv[:3] == ["/go/bin/go", "list", "-export"]:
            return Output(0, "", "")
        if argv[:2] == ["/go/bin/go", "list"]:
            return Output(0, f"/mod/{argv[-1]}\n", "")
        if argv[:2] == ["/bin/ko", "resolve"]:
            self.environ = env or {}
            return Output(0, self.texts[argv[-1]], "")
        if argv[:2] == ["/bin/crane", "push"]:
            return Output(0, f"{argv[3].rpartition(':')[0]}{DIGEST}\n", "")
        assert argv[:2] == ["/bin/crane", "pull"], argv
        layout = Path(argv[-1])
        layout.mkdir(parents=True)
        (layout / "index.json").write_text('{"manifests": [{"digest": "sha256:0"}]}')
        return Output(0, "", "")


def image(package: str) -> str:
    return f"{REGISTRY}/{package}{DIGEST}"


def objects(packages: Sequence[str]) -> str:
    """A Deployment whose arguments name images, as the controller's do, and one without any."""
    args = [f"-{number}={image(package)}" for number, package in enumerate(packages)]
    container = {"name": "c", "image": image(packages[0]), "args": args}
    deployment = {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [container]}}}}
    return yaml.safe_dump_all([deployment, {"kind": "ConfigMap", "data": {"port": REGISTRY}}, None])


def packages(path: str) -> list[str]:
    return [f"{path}/{name}" for name in tekton_build.PROGRAMS[path]]


@pytest.fixture
def texts() -> dict[str, str]:
    return {
        f"/mod/{PIPELINE}/config": objects(packages(f"{PIPELINE}/cmd")),
        f"/mod/{TRIGGERS}/config": objects(packages(f"{TRIGGERS}/cmd")),
    }


def build(tools: Tools, folder: Path) -> None:
    tekton_build.build(
        tools,
        Go(tools, Toolchain(Path("/go/bin/go"), (1, 26)), Path("/cache"), "arm64"),
        FakeClock(),
        ko=Path("/bin/ko"),
        crane=Path("/bin/crane"),
        module=Path("/project/images/tekton"),
        bases={"static": Path("/layouts/static"), "git": Path("/layouts/git")},
        folder=folder,
        say=lambda _: None,
    )


def test_logical_names() -> None:
    assert tekton_build.make_logical_name(f"{PIPELINE}/cmd/entrypoint") == "tekton-pipelines-entrypoint"
    assert tekton_build.make_logical_name(f"{TRIGGERS}/cmd/controller") == "tekton-triggers-controller"
    assert len(set(tekton_build.NAMES)) == len(tekton_build.NAMES) == 12


def test_every_image_is_kept_and_called_by_its_logical_name(tmp_path: Path, texts: dict[str, str]) -> None:
    tools = Tools(texts, Serving())
    build(tools, tmp_path)
    assert all((path / "index.json").exists() for path in tekton_build.list_layouts(tmp_path).values())
    found = tekton_build.read_objects(tmp_path)
    assert [each["kind"] for each in found] == ["Deployment", "ConfigMap"] * 2
    container = found[0]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "image.local/tekton-pipelines-controller"
    assert container["args"][4] == "-4=image.local/tekton-pipelines-entrypoint"
    assert DIGEST not in json.dumps(found)
    assert found[1]["data"] == {"port": REGISTRY}, "only image references are rewritten"
    assert tools.serving.stopped


def test_ko_builds_for_the_nodes_from_our_bases(tmp_path: Path, texts: dict[str, str]) -> None:
    tools = Tools(texts, Serving())
    build(tools, tmp_path)
    assert any("--platform=linux/arm64" in argv for argv in tools.ran)
    assert (tools.environ["GOOS"], tools.environ["GOARCH"]) == ("", "")
    assert tools.environ["KO_DOCKER_REPO"] == REGISTRY
    assert tools.environ["PATH"].startswith("/go/bin:")
    config = yaml.safe_load((tmp_path / "ko.yaml").read_text())
    assert config["defaultBaseImage"] == f"{REGISTRY}/base/static{DIGEST}"
    assert config["baseImageOverrides"] == {f"{PIPELINE}/cmd/resolvers": f"{REGISTRY}/base/git{DIGEST}"}


def test_what_the_programs_share_is_compiled_once_before_ko_builds_them_side_by_side(
    tmp_path: Path, texts: dict[str, str]
) -> None:
    tools = Tools(texts, Serving())
    build(tools, tmp_path)
    first = next(index for index, argv in enumerate(tools.ran) if argv[:2] == ["/bin/ko", "resolve"])
    [compiled] = [argv for argv in tools.ran[:first] if "-export" in argv]
    assert sorted(tekton_build.make_logical_name(each) for each in compiled[-12:]) == sorted(tekton_build.NAMES)


def test_a_release_without_one_of_the_images_is_noticed(tmp_path: Path, texts: dict[str, str]) -> None:
    texts[f"/mod/{TRIGGERS}/config"] = objects(packages(f"{TRIGGERS}/cmd")[:-1])
    with pytest.raises(CommandError, match="tekton-triggers-eventlistenersink"):
        build(Tools(texts, Serving()), tmp_path)


def test_a_registry_that_does_not_start_is_told_with_its_words(tmp_path: Path, texts: dict[str, str]) -> None:
    tools = Tools(texts, Serving(dies=True))
    with pytest.raises(CommandError) as failure:
        build(tools, tmp_path)
    assert failure.value.evidence == "address already in use"
    assert tools.serving.stopped


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "2026/01/01 Building github.com/tektoncd/pipeline/cmd/webhook for linux/amd64",
            ["building pipeline/cmd/webhook"],
        ),
        (
            f"2026/01/01 Published {REGISTRY}/github.com/tektoncd/triggers/cmd/controller@sha256:00",
            ["published triggers/cmd/controller"],
        ),
        ("2026/01/01 Using base 127.0.0.1:1/base/static@sha256:00", []),
    ],
)
def test_progress(line: str, said: list[str]) -> None:
    heard: list[str] = []
    tekton_build._report_progress(heard.append)(line)
    assert heard == said
