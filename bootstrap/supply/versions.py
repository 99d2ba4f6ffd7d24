"""What this checkout is made for, read where it is pinned."""

from __future__ import annotations

from pathlib import Path

from bootstrap.supply.build_catalog import PIPELINE, TRIGGERS
from bootstrap.supply.golang import module_version


def versions(project: Path) -> dict[str, str]:
    """ "kubernetes", "pipelines", "triggers" -> "v1.36.3"."""
    tekton = project / "images/tekton/go.mod"
    return {
        "kubernetes": module_version(project / "images/kubernetes/go.mod", "k8s.io/kubernetes"),
        "pipelines": module_version(tekton, PIPELINE),
        "triggers": module_version(tekton, TRIGGERS),
    }
