from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core.errors import BootstrapError, UsageError
from bootstrap.core.model import Lock, LockedImage, Object
from bootstrap.objects.image_refs import find_logical_names, list_references, list_unlocked, parse_reference, rewrite

HEX = "a" * 64
DIGEST = f"sha256:{HEX}"
LOCK = Lock({name: LockedImage(name, f"registry.test:5000/b/{name}", DIGEST) for name in ("tool", "tool-two")})
TOOL, TOOL_TWO = (LOCK.images[name].reference for name in ("tool", "tool-two"))


REFERENCES = json.loads((Path(__file__).parent / "references.json").read_text())
"""images/tools/reference_test.go asks the library that docker and containerd use whether it reads them so."""


@pytest.mark.parametrize("row", REFERENCES, ids=lambda row: row["text"][:40])
def test_references_are_read_as_docker_does(row: dict[str, Any]) -> None:
    if row["full"] is None:
        with pytest.raises(UsageError, match="is not an image reference"):
            parse_reference(row["text"])
    else:
        assert str(parse_reference(row["text"])) == row["full"]
        assert str(parse_reference(row["full"])) == row["full"], "the second time nothing changes"


def objects() -> list[Object]:
    """Logical names wherever Tekton has them: fields, arguments of both forms, lists in one string, params, env."""
    container = {
        "image": "image.local/tool",
        "args": ["-nop-image=image.local/tool-two", "-shell-image", "image.local/tool", "a=image.local/tool,b"],
        "env": [{"name": "IMAGE", "value": "image.local/tool-two"}],
    }
    return [{"kind": "Deployment", "spec": {"containers": [container]}}, {"params": [{"value": "image.local/tool"}]}]


def test_logical_names_are_found_in_every_string() -> None:
    assert find_logical_names(objects()) == {"tool", "tool-two"}


def test_every_logical_name_is_rewritten() -> None:
    given = objects()
    rewritten = rewrite(given, LOCK)
    [container] = rewritten[0]["spec"]["containers"]
    assert container["image"] == TOOL
    assert container["args"] == [f"-nop-image={TOOL_TWO}", "-shell-image", TOOL, f"a={TOOL},b"]
    assert container["env"][0]["value"] == TOOL_TWO
    assert rewritten[1]["params"][0]["value"] == TOOL
    assert "image.local" not in str(rewritten)
    assert given == objects()


def test_an_unknown_name_is_told_with_those_there_are() -> None:
    with pytest.raises(BootstrapError, match="no image is called nothing") as caught:
        rewrite([{"image": "image.local/nothing"}], LOCK)
    assert caught.value.evidence == "the lock holds tool, tool-two"


def test_references_are_listed_once_each() -> None:
    assert list_references(rewrite(objects(), LOCK)) == [TOOL, TOOL_TWO]
    assert list_unlocked(rewrite(objects(), LOCK), LOCK) == []


@pytest.mark.parametrize(
    "stranger",
    [
        {"image": "nginx"},
        {"image": f"elsewhere.test/tool@{DIGEST}"},
        {"image": TOOL.replace(DIGEST, "sha256:" + "b" * 64)},
        {"args": ["-shell-image=cgr.dev/chainguard/busybox"]},
        {"args": ["-shell-image-win", "mcr.microsoft.com/powershell:nanoserver"]},
        {"args": [f"-x=elsewhere.test/tool@{DIGEST},y"]},
        {"env": [{"name": "ANY", "value": f"elsewhere.test/tool@{DIGEST}"}]},
        {"data": {"config": f"default: elsewhere.test/tool@{DIGEST}"}},
        {"image": "image.local/tool"},
        {"env": [{"name": "ANY", "value": "docker.io/library/nginx:1"}]},
        {"params": [{"name": "any", "default": "ghcr.io/team/app"}]},
        {"data": {"config": "kind: X\nof: quay.io/team/app:v1.2\n"}},
        {"args": ["--with=registry.k8s.io/pause:3"]},
    ],
)
def test_what_the_lock_does_not_hold_is_told(stranger: dict[str, Any]) -> None:
    assert len(list_unlocked([{"kind": "Deployment", "spec": stranger}], LOCK)) == 1


@pytest.mark.parametrize(
    "harmless",
    [
        {"image": "$(params.IMAGE)"},
        {"args": ["-images-from", "https://host.test/x"]},
        {"args": ["-image-pull-policy", "Always"]},
        {"env": [{"name": "URL", "value": "registry.test:5000/demo/app"}]},
        {"properties": {"image": {"type": "string"}}},
        {"env": [{"name": "URL", "value": "https://ghcr.io/team/app"}]},
        {"data": {"buildkitd.toml": '[registry."docker.io"]\n  mirrors = ["registry.test:5000"]'}},
        {"data": {"why": "notdocker.io/x is no host of ours"}},
    ],
)
def test_what_is_no_reference_is_left_alone(harmless: dict[str, Any]) -> None:
    assert list_unlocked([{"kind": "Task", "spec": harmless}], LOCK) == []
