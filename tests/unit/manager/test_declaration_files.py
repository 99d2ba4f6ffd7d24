"""Files of the central repository: what is read, and what is wrong with each, by its line."""

from __future__ import annotations

import json

import pytest

from bootstrap.incluster.application_source import Source
from bootstrap.manager.declaration_files import MAX_DEPTH, read_declarations
from tests.central_repository import declare

SOURCE = Source("https://git.example.com/platform.git", "main", "apps")


def read(**files: str | bytes) -> tuple[list[str], list[str]]:
    """(names, faults)."""
    given = {f"{name}.yaml": text if isinstance(text, bytes) else text.encode() for name, text in files.items()}
    found, faults = read_declarations(given, SOURCE, "cicd")
    return [each.name for each in found], [str(each) for each in faults]


def test_what_is_declared_is_marked() -> None:
    text = declare("orders", "  owner: 2027-01-15\n  port: 9000")
    [found], faults = read_declarations({"apps/orders.yaml": text.encode()}, SOURCE, "cicd")
    assert faults == []
    assert found.obj == {
        "apiVersion": "tekton-bootstrap.dev/v1alpha1",
        "kind": "Application",
        "metadata": {
            "name": "orders",
            "namespace": "cicd",
            "labels": {"tekton-bootstrap.dev/source": "repository"},
            "annotations": {
                "tekton-bootstrap.dev/declared-by": "https://git.example.com/platform.git main apps",
                "tekton-bootstrap.dev/declared-in": "apps/orders.yaml",
            },
        },
        "spec": {"owner": "2027-01-15", "port": 9000},
    }
    assert json.dumps(found.obj)


def test_a_file_may_declare_several_or_none() -> None:
    several = f"---\n{declare('a')}---\n# nothing\n---\n{declare('b')}"
    assert read(x=several, y="", z="# later\n") == (["a", "b"], [])


def test_labels_and_annotations_stay_but_for_the_marks() -> None:
    head, _, tail = declare("a").partition("  name")
    mine = "  labels: {team: sales, tekton-bootstrap.dev/source: me}\n  annotations:\n    note: x\n"
    [found], _ = read_declarations({"a.yaml": f"{head}{mine}  name{tail}".encode()}, SOURCE, "cicd")
    assert found.obj["metadata"]["labels"] == {"team": "sales", "tekton-bootstrap.dev/source": "repository"}
    assert found.obj["metadata"]["annotations"]["note"] == "x"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [1", "x.yaml:1: it is not YAML: did not find expected ',' or ']'"),
        (b"a: 1\nb: \xff", "x.yaml:2: it is not UTF-8 text"),
        ("a: \x01", "x.yaml: it is not YAML: unacceptable character #x0001"),
        ("a: &x 1\nb: *x\n", "x.yaml:2: aliases (*NAME) are not accepted; write out what it stands for"),
        ("a: 1\nb: !!python/object:os.system x\n", "x.yaml:2: tags (!NAME) are not accepted"),
        ("a: {b: 1,\n b: 2}\n", "x.yaml:2: the key b stands twice"),
        ("? [a]\n: 1\n", "x.yaml:1: a key must be a text"),
        ("[" * (MAX_DEPTH + 1), "x.yaml:1: it is nested deeper than 16 levels"),
        ("- 1\n", "x.yaml:1: expected an Application with apiVersion, kind and metadata"),
        ("apiVersion: v1\nkind: Secret\n", "x.yaml:2: Secret of v1; expected Application of tekton-bootstrap.dev/v1"),
        ("a: 1\n", "x.yaml:1: an object of no version; expected Application of tekton-bootstrap.dev/v1alpha1"),
        (declare("a") + "status: {}\n", "x.yaml:5: status is no field of an Application; it has apiVersion, kind"),
        (declare("7"), "x.yaml:3: metadata.name is missing, or is no text"),
        (declare("../b"), "x.yaml:4: ../b is no name of at most 40 lower case letters, digits and single dashes"),
        (declare("a" * 41), f"x.yaml:4: {'a' * 41} is no name of at most 40"),
        (declare("a") + "  finalizers: [x]\n", "x.yaml:5: metadata.finalizers is not accepted; name, namespace,"),
        (declare("a") + "  labels: 7\n", "x.yaml:5: metadata.labels is no mapping"),
        (declare("a") + "  namespace: git\n", "x.yaml:5: a is in namespace git; applications are in cicd"),
        (f"{declare('a')}---\n{declare('a')}", "x.yaml:9: a is declared in x.yaml already"),
    ],
)
def test_what_is_wrong_is_told_by_its_line(text: str | bytes, fault: str) -> None:
    _, faults = read(x=text)
    assert len(faults) == 1
    assert faults[0].startswith(fault)


def test_faults_of_all_files_are_told() -> None:
    names, faults = read(a=declare("same"), b=declare("same"), c="[", d=declare("other"))
    assert names == ["same", "other"]
    assert [each.partition(" ")[0] for each in faults] == ["b.yaml:4:", "c.yaml:1:"]
    assert "same is declared in a.yaml already" in faults[0]


@pytest.mark.parametrize(
    ("why", "line"),
    [
        ('.spec.environments[name="two"].foo: field not declared in schema', 13),
        ("spec.environments[1].name: Invalid value", 12),
        ("spec.environments[7]: Invalid value", 9),
        ('Application "a" is invalid: spec.port: Invalid value: 0', 8),
        ("the name is refused", 6),
    ],
)
def test_what_the_api_refuses_is_told_by_its_line(why: str, line: int) -> None:
    spec = "  port: 0\n  environments:\n  - name: one\n    namespace: x\n  - name: two\n    foo: 1"
    # a comment and the document's mark stand before it
    [found], _ = read_declarations({"a.yaml": f"# a\n---\n{declare('a', spec)}".encode()}, SOURCE, "cicd")
    assert str(found.make_fault(why)) == f"a.yaml:{line}: {why}"
