"""For a remote cluster the mirror's description alone is fetched, and compared with the mirror as well."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.core.model import Pending, Ready
from bootstrap.supply.mirror import make_tag
from bootstrap.supply.mirror_remote import DirectMirror
from bootstrap.world.registry.http import RegistryAnswer
from tests.unit.fakes import FakeReport
from tests.unit.supply.test_mirror import ADDRESS, ANOTHER, Place, make_build, tell

READY = Ready(f"1 images, pulled from {ADDRESS}")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path, make_build(tmp_path / "made", "a"), make_build(tmp_path / "made", "b"))
    place.registry.fill(place.first)
    return place


def supply(place: Place) -> Any:
    return place.open(partial(cast(Any, DirectMirror), logs_in=False))


def provide(mirror: DirectMirror) -> None:
    mirror.provide(cast(Any, FakeReport().step("images")))


def test_a_mirror_that_was_filled_anew_is_noticed_and_fetched(place: Place) -> None:
    mirror = supply(place)
    assert mirror.check() == Pending("what the mirror holds is not known yet")
    provide(mirror)
    assert mirror.check() == READY
    assert place.registry.heard == ["ask", "files"], "no image, and no look after it"
    place.registry.fill(place.second)
    later = supply(place)
    assert later.check() == ANOTHER
    assert later.is_kept(), "what is to be taken away by `down` is known all the same"
    provide(later)
    assert later.check() == READY
    assert later.read_lock().images["pause"].digest == place.second.said.images[0].digest
    golang = place.second.said.seeds["library/golang:1"]
    assert later.read_lock().seeds == {"library/golang:1": f"golang@{golang}"}
    assert tell(later) == tell(supply(place))
    assert make_tag(golang) not in {path.name for path in place.cache.rglob("*")}, "no image is fetched"


def test_a_look_that_fails_takes_nothing_away_and_is_told(place: Place) -> None:
    provide(supply(place))
    place.registry.fill(place.second)
    place.registry.silent = RegistryAnswer(0, {}, "timed out")
    before = place.list_files()
    assert supply(place).check() == Ready(f"{READY.why}, as last seen: {ADDRESS} does not answer (timed out)")
    assert place.list_files() == before
