"""World: every door to the outside, handed down explicitly. There is no global state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bootstrap.config import Config
    from bootstrap.paths import Paths
    from bootstrap.world.clock import Clock
    from bootstrap.world.engine import Engine
    from bootstrap.world.kube import Kube
    from bootstrap.world.report import Report
    from bootstrap.world.shell import Shell


@dataclass
class World:
    """config: settings. paths: folders. The rest are doors; kube connects when first used."""

    config: Config
    paths: Paths
    shell: Shell
    clock: Clock
    report: Report
    engine: Engine
    kube: Kube
