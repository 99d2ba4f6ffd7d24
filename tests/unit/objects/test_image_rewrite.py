"""References in manifests of anybody: which are replaced, what stays, and that a second time changes nothing."""

from __future__ import annotations

import json
import textwrap
import time

import pytest
import yaml

from bootstrap.core.errors import UsageError
from bootstrap.objects import image_rewrite

HEX = "a" * 64
DIGEST = f"sha256:{HEX}"
OLD = f"gcr.io/tekton/controller:v1@{DIGEST}"
NEW = f"mirror.test:5000/team/gcr.io/tekton/controller@{DIGEST}"
GOLANG = f"mirror.test:5000/team/docker.io/library/golang@{DIGEST}"
TOOL = f"mirror.test:5000/team/tool@{DIGEST}"
TABLE = {OLD: NEW, "golang:1.26": GOLANG, "image.local/tool": TOOL, "nginx": f"mirror.test:5000/nginx@{DIGEST}"}


def rewrite(text: str) -> str:
    return image_rewrite.rewrite(text, TABLE, "a.yaml")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"image: {OLD}", f"image: {NEW}"),
        ("image: nginx", f"image: {TABLE['nginx']}"),
        (f"- image: '{OLD}'  # ours", f"- image: '{NEW}'  # ours"),
        (f'image: "{OLD}"', f'image: "{NEW}"'),
        (json.dumps({"image": OLD, "name": "x"}), json.dumps({"image": NEW, "name": "x"})),
        (f"args: [-nop-image={OLD}, -v]", f"args: [-nop-image={NEW}, -v]"),
        ('args: ["-shell-image", "golang:1.26"]', f'args: ["-shell-image", "{GOLANG}"]'),
        ("args: [--entrypoint-image, golang:1.26]", f"args: [--entrypoint-image, {GOLANG}]"),
        ("args: ['a=image.local/tool,b']", f"args: ['a={TOOL},b']"),
        ("env: [{name: BUILDER_IMAGE, value: golang:1.26}]", f"env: [{{name: BUILDER_IMAGE, value: {GOLANG}}}]"),
        ("params: [{name: image, default: 'golang:1.26'}]", f"params: [{{name: image, default: '{GOLANG}'}}]"),
        ("params: [{name: images, default: [golang:1.26]}]", f"params: [{{name: images, default: [{GOLANG}]}}]"),
        ("volumes: [{image: {reference: nginx}}]", f"volumes: [{{image: {{reference: {TABLE['nginx']}}}}}]"),
        (
            "resolver: bundles\nparams: [{name: bundle, value: golang:1.26}]",
            f"resolver: bundles\nparams: [{{name: bundle, value: {GOLANG}}}]",
        ),
        ("data: {default-affinity-image: golang:1.26}", f"data: {{default-affinity-image: {GOLANG}}}"),
        (f"data:\n  x: uses {OLD}, always", f"data:\n  x: uses {NEW}, always"),
        (
            "data:\n  template: |\n    spec:\n      - image: golang:1.26\n        name: golang:1.26\n",
            f"data:\n  template: |\n    spec:\n      - image: {GOLANG}\n        name: {GOLANG}\n",
        ),
        (f"a: &x {OLD}\nb: *x\n", f"a: &x {NEW}\nb: *x\n"),
        (f"image: {OLD}\n---\n---\nimage: nginx\n", f"image: {NEW}\n---\n---\nimage: {TABLE['nginx']}\n"),
        (f"kind: List\nitems:\n- image: {OLD}\n", f"kind: List\nitems:\n- image: {NEW}\n"),
        (f"# ä {OLD}\nä: ü\nimage: {OLD}\n", f"# ä {OLD}\nä: ü\nimage: {NEW}\n"),
        (f"image: >-\n  {OLD}\n", f"image: >-\n  {NEW}\n"),
    ],
)
def test_references_are_replaced_where_they_stand(before: str, after: str) -> None:
    assert rewrite(before) == after
    assert rewrite(after) == after, "a second time changes nothing"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "---\n",
        "image: $(params.IMAGE)",
        "name: golang:1.26",
        "description: use golang:1.26 or nginx",
        "image: golang:1.26-alpine",
        "image: example.test/golang:1.26",
        "imagePullPolicy: Always",
        "env: [{name: IMAGE_PULL_POLICY, value: nginx}]",
        "params: [{name: image, value: nginx}]",
        f"kind: CustomResourceDefinition\nspec: {{image: {OLD}}}",
        f"metadata: {{annotations: {{last: '{OLD}'}}}}",
        f"data:\n  _example: |\n    image: {OLD}\n",
        f"description: {OLD}",
        "script: echo golang:1.26",
        "image: nginx\ntag: '1.27'",
        f"resources: [{{pattern: '{OLD}'}}]",
        f"verifyImages: [{{imageReferences: ['{OLD}', 'golang:1.26']}}]",
        "validate: {pattern: {image: 'golang:1.26'}}",
        f"kind: List\nitems: [{{kind: CustomResourceDefinition, image: {OLD}}}]",
    ],
)
def test_all_else_stays(text: str) -> None:
    assert rewrite(text) == text


def test_what_is_put_in_is_not_looked_at_again() -> None:
    swapped = {"a:1": "b:1", "b:1": "a:1"}
    assert image_rewrite.rewrite("[{image: a:1}, {image: b:1}]", swapped, "x") == "[{image: b:1}, {image: a:1}]"


def test_layout_and_comments_stay() -> None:
    text = textwrap.dedent(f"""\
        # a comment
        kind: Deployment
        spec:
            containers:    # four blanks
            -   image:   {OLD}   # pinned
                args:
                - '-git-image'
                - "golang:1.26"
        """)
    assert rewrite(text) == text.replace(OLD, NEW).replace("golang:1.26", GOLANG)


def test_what_is_sure_is_told_from_what_is_not() -> None:
    text = f"image: {OLD}\nenv: [{{name: IMAGE, value: me/app:v1}}]\nargs: [-x-image, me/tool]\n"
    assert {place.text: place.sure for place in image_rewrite.find_references(text, "x")} == {
        OLD: True,
        "me/app:v1": False,
        "me/tool": True,
    }


@pytest.mark.parametrize(
    "text",
    [
        f'image: "gcr.io/tekton/\\\n  controller:v1@{DIGEST}"',
        f"base: &b {{image: {OLD}}}\nother: {{<<: *b, x: 1}}\n",
    ],
)
def test_what_cannot_be_edited_in_place_is_refused_not_damaged(text: str) -> None:
    yaml.safe_load(text)
    with pytest.raises(UsageError, match=r"a\.yaml: .* cannot be replaced where it stands"):
        rewrite(text)


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "{{ .Values }}", "\x00", "a: 2026-99-99"])
def test_what_is_no_yaml_is_told_with_its_file(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        rewrite(text)
    assert caught.value.faults[0].where == "a.yaml"


@pytest.mark.parametrize(
    "text",
    [
        "note: charts are at ghcr.io/acme/charts, ask there",
        "script: docker push ghcr.io/acme/app:v1",
        "image: ghcr.io/acme/*",
        "image: '!*:latest'",
        "storage.oci.repository: ghcr.io/acme/signatures",
        "data: {a.yaml: '# image: ghcr.io/acme/app:v1'}",
    ],
)
def test_a_mere_mention_is_no_image(text: str) -> None:
    assert image_rewrite.find_references(text, "x") == []


def test_a_tag_in_a_field_of_its_own_is_told_and_left() -> None:
    text = "a: {image: ghcr.io/me/edge, tag: v1}\nb: {image: {registry: quay.io, repository: me/side, tag: '0.9'}}\n"
    found = image_rewrite.find_references(text, "x")
    assert {place.text: (place.sure, bool(place.left)) for place in found} == {
        "ghcr.io/me/edge": (False, True),
        "quay.io/me/side": (False, True),
    }


@pytest.mark.parametrize("unit", ["a", "a/", "a.b:", "image: ", "-x", "ghcr.io/a/", "@sha256:"])
def test_a_long_line_is_searched_in_time(unit: str) -> None:
    text = f"data: {json.dumps(unit * (300_000 // len(unit)))}"
    begin = time.process_time()
    image_rewrite.find_references(text, "x")
    assert time.process_time() - begin < 2
