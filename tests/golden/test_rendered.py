"""The rendered manifests, word for word: `pytest tests/golden --update-golden` accepts a change."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.golden.rendered import OPENSHIFT, PARTS, on_openshift, rendered

EXPECTED = Path(__file__).parent / "expected"


class _Dumper(yaml.SafeDumper):
    """Without anchors, and with scripts as blocks: these files are for reading."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


@pytest.mark.parametrize("name", [*PARTS, OPENSHIFT])
def test_rendered_manifests_are_as_accepted(name: str, request: pytest.FixtureRequest) -> None:
    objects = on_openshift() if name == OPENSHIFT else rendered(name)
    text = yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120)
    file = EXPECTED / f"{name}.yaml"
    if request.config.getoption("--update-golden"):
        file.write_text(text)
    assert text == file.read_text()


def test_no_expected_file_is_left_over() -> None:
    assert {file.stem for file in EXPECTED.iterdir()} == {*PARTS, OPENSHIFT}
