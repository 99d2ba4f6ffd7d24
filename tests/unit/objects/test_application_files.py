"""Files that declare Applications: what is read of them, and what is told of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bootstrap.core.errors import UsageError
from bootstrap.objects.application_files import list_files, load_applications, make_text

HEAD = "apiVersion: tekton-bootstrap.dev/v1alpha1\nkind: Application\n"


def declare(name: str, more: str = "") -> str:
    return f"{HEAD}metadata:\n  name: {name}\n{more}"


def list_faults(folder: Path) -> list[tuple[str, int, str]]:
    """(name of the file, line, what is wrong)."""
    with pytest.raises(UsageError) as caught:
        load_applications(folder, "cicd")
    return [(Path(each.where).name, each.line, each.text) for each in caught.value.faults]


def test_no_folder_declares_nothing(tmp_path: Path) -> None:
    assert load_applications(tmp_path / "none", "cicd") == []
    assert load_applications(tmp_path, "cicd") == []


def test_each_file_counts_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(declare("stock") + "---\n" + declare("invoices", "spec:\n  port: 9000\n"))
    (tmp_path / "a.yml").write_text(declare("orders"))
    (tmp_path / "c.yaml").write_text("")
    (tmp_path / "README.md").write_text("no")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "d.yaml").write_text("no")
    assert [each.name for each in list_files(tmp_path)] == ["a.yml", "b.yaml", "c.yaml"]
    found = load_applications(tmp_path, "cicd")
    assert [each["metadata"] for each in found] == [
        {"name": name, "namespace": "cicd"} for name in ("orders", "stock", "invoices")
    ]
    assert found[2]["spec"] == {"port": 9000}


def test_every_fault_is_told_with_its_file(tmp_path: Path) -> None:
    for name, text in {
        "a.yaml": declare("orders"),
        "b.yaml": declare("orders"),
        "c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n",
        "d.yaml": declare("stock", "  namespace: elsewhere\n"),
        "e.yaml": "a: [1\n",
        "f.yaml": declare("twice", "spec:\n  port: 1\n  port: 2\n"),
        "g.yaml": HEAD.replace("v1alpha1", "v2") + "metadata:\n  name: y\n",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "h.yaml").write_bytes(b"\xff")
    found = {name: text for name, _, text in list_faults(tmp_path)}
    assert {name: found[name] for name in ("b.yaml", "c.yaml", "d.yaml", "g.yaml", "h.yaml")} == {
        "b.yaml": "orders is in a.yaml already",
        "c.yaml": "ConfigMap of v1; expected Application of tekton-bootstrap.dev/v1alpha1",
        "d.yaml": "stock is in namespace elsewhere; applications are in cicd",
        "g.yaml": "Application of tekton-bootstrap.dev/v2; expected Application of tekton-bootstrap.dev/v1alpha1",
        "h.yaml": "cannot be read: not UTF-8",
    }
    assert "port" in found["f.yaml"]
    assert {*found} == {f"{letter}.yaml" for letter in "bcdefgh"}


def test_a_fault_in_the_form_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(declare("orders") + "---\n- 1\n")
    [(name, line, _)] = list_faults(tmp_path)
    assert (name, line) == ("a.yaml", 6)


def test_a_path_that_is_none_has_its_line(tmp_path: Path) -> None:
    spec = "spec:\n  paths:\n  - services/**\n  - ../libs\n  - 'docs?'\n  - 7\n"
    (tmp_path / "a.yaml").write_text(declare("orders", spec))
    assert [(line, text.partition(": ")[0]) for _, line, text in list_faults(tmp_path)] == [
        (8, '"../libs"'),
        (9, '"docs?"'),
    ]


@pytest.mark.parametrize("metadata", ["", "metadata: {}\n", "metadata:\n  name: 7\n", "metadata: [name]\n"])
def test_one_without_a_name(tmp_path: Path, metadata: str) -> None:
    (tmp_path / "a.yaml").write_text(HEAD + metadata)
    [(name, _, text)] = list_faults(tmp_path)
    assert name == "a.yaml"
    assert "name" in text


def test_the_namespace_may_be_said(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(declare("orders", "  namespace: cicd\n"))
    assert len(load_applications(tmp_path, "cicd")) == 1


def test_the_text_reads_as_it_was_meant(tmp_path: Path) -> None:
    wanted = yaml.safe_load(declare("orders", "spec:\n  owner: Größe\n  arrive: {poll: 5m}\n"))
    text = make_text(wanted)
    assert text.splitlines()[0] == "apiVersion: tekton-bootstrap.dev/v1alpha1"
    assert "owner: Größe" in text
    (tmp_path / "a.yaml").write_text(text)
    [found] = load_applications(tmp_path, "cicd")
    assert found["spec"] == wanted["spec"]
