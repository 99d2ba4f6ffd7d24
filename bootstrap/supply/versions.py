"""The versions that this checkout is made for, read where they are pinned."""

from __future__ import annotations

from pathlib import Path

from bootstrap.supply.build_catalog import PIPELINE, TRIGGERS
from bootstrap.supply.golang import read_module_version


def read_versions(project: Path) -> dict[str, str]:
    """ "kubernetes", "pipelines", "triggers" -> "v1.36.3". Raises KeyError."""
    tekton = project / "images/tekton/go.mod"
    return {
        "kubernetes": read_module_version(project / "images/kubernetes/go.mod", "k8s.io/kubernetes"),
        "pipelines": read_module_version(tekton, PIPELINE),
        "triggers": read_module_version(tekton, TRIGGERS),
    }
