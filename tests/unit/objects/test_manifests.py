from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.core.errors import UsageError
from bootstrap.core.model import Object
from bootstrap.objects.manifests import DIGEST, compute_digest, is_ours, load, parse, sort_by_need, stamp


def config(name: str = "one", **more: object) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def test_folder_is_read_in_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("apiVersion: v1\nkind: B\nmetadata: {name: b}\n")
    (tmp_path / "a.yml").write_text("---\n---\napiVersion: v1\nkind: A\nmetadata: {name: a}\n---\n# nothing\n")
    (tmp_path / "readme.md").write_text("not: [a manifest")
    assert [each["kind"] for each in load(tmp_path)] == ["A", "B"]


def test_list_stands_for_its_items() -> None:
    text = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: x}}\n"
    assert [each["kind"] for each in parse(text)] == ["Secret"]


def test_dates_stay_text_as_for_kubectl() -> None:
    [found] = parse("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {day: 2026-11-23}\n")
    assert found["data"] == {"day": "2026-11-23"}


def test_every_fault_is_told_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\nkind: Secret\n")
    (tmp_path / "b.yaml").write_text("a: 1\nb: [\n")
    (tmp_path / "c.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\nkind: Twice\n")
    (tmp_path / "d.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError) as caught:
        load(tmp_path, tmp_path / "missing")
    told = [(Path(fault.where).name, fault.line, fault.text) for fault in caught.value.faults]
    assert told[0] == ("a.yaml", 5, "Secret lacks apiVersion, metadata.name")
    assert told[1][:2] == ("b.yaml", 3)
    assert told[2] == ("c.yaml", 4, "the key kind stands twice")
    assert told[3][0] == "d.yaml"
    assert told[4][0] == "missing"
    assert len(told) == 5


@pytest.mark.parametrize("text", ["just words", "- a list", "a: &x [*x]"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_kinds_come_after_what_they_need() -> None:
    kinds = ["Task", "Deployment", "Secret", "Namespace", "RoleBinding", "CustomResourceDefinition", "ServiceAccount"]
    given = [{"apiVersion": "x", "kind": kind, "metadata": {"name": "x"}} for kind in kinds]
    assert [each["kind"] for each in sort_by_need(given)] == [
        "Namespace",
        "CustomResourceDefinition",
        "ServiceAccount",
        "RoleBinding",
        "Secret",
        "Deployment",
        "Task",
    ]
    assert [each["metadata"]["name"] for each in sort_by_need([config("b"), config("a")])] == ["b", "a"]


def test_digest_knows_content_and_not_order() -> None:
    assert compute_digest(config(data={"a": "1", "b": "2"})) == compute_digest(config(data={"b": "2", "a": "1"}))
    assert compute_digest(config(data={"a": "1"})) != compute_digest(config(data={"a": "2"}))
    assert compute_digest(config()).startswith("sha256:")
    assert len(compute_digest(config())) == 71


def test_stamp_marks_a_copy_and_keeps_the_digest() -> None:
    wanted = config(data={"a": "1"})
    stamped = stamp(wanted)
    assert "labels" not in wanted["metadata"]
    assert is_ours(stamped)
    assert not is_ours(wanted)
    assert stamped["metadata"]["annotations"][DIGEST] == compute_digest(wanted) == compute_digest(stamped)
    assert stamp(stamped) == stamped


def test_secret_content_does_not_enter_the_digest() -> None:
    one: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "a"}}
    assert compute_digest(one) == compute_digest({**one, "stringData": {"password": "b"}})
    assert compute_digest(one) != compute_digest({**one, "type": "kubernetes.io/basic-auth"})


def test_what_an_alias_names_is_a_value_of_its_own_in_each_place() -> None:
    """Else a patch of one would change the other as well."""
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {one: &same [{x: 1}], two: *same}\n"
    [found] = parse(text)
    found["data"]["one"][0]["x"] = 2
    assert found["data"] == {"one": [{"x": 2}], "two": [{"x": 1}]}
