"""The steps of an environment as one list. What may run side by side follows from the `needs` of each."""

from __future__ import annotations

from bootstrap.steps.cleanup import make_cleanup_step
from bootstrap.steps.credentials import CredentialsStep
from bootstrap.steps.deploy_target import TargetStep
from bootstrap.steps.engine import EngineStep
from bootstrap.steps.existing_cluster import ExistingCluster
from bootstrap.steps.images import ImagesStep
from bootstrap.steps.kind_cluster import KindCluster
from bootstrap.steps.listener import make_listener_step
from bootstrap.steps.manager import make_applications_step, make_manager_step
from bootstrap.steps.manifest_catalog import (
    make_builder_step,
    make_demo_step,
    make_git_step,
    make_namespaces_step,
    make_pipeline_step,
)
from bootstrap.steps.poller import make_poller_step
from bootstrap.steps.preload import PreloadStep
from bootstrap.steps.prune import ObjectStep, PruneStep
from bootstrap.steps.reconcile import Step
from bootstrap.steps.registry import RegistryStep
from bootstrap.steps.remote_cluster import MirrorStep, RemoteCluster, ServedStep
from bootstrap.steps.tekton import make_tekton_step
from bootstrap.steps.tekton_dashboard import DashboardStep
from bootstrap.world import World


def list_steps(world: World) -> list[Step[World]]:
    """All steps of `up`, in an order for reading; their `needs` say what may run side by side."""
    todo: list[Step[World]] = [
        *list_cluster_steps(world),
        make_namespaces_step(),
        CredentialsStep(),
        make_tekton_step(),
        make_builder_step(world),
        make_git_step(),
        make_demo_step(),
        TargetStep(),
        make_pipeline_step(),
        make_listener_step(),
        make_manager_step(),
        make_applications_step(),
        make_poller_step(),
        make_cleanup_step(),
        *([] if world.config.supply == "source" else [DashboardStep()]),
    ]
    parts = tuple(step for step in todo if isinstance(step, ObjectStep))
    return [*todo, PruneStep(parts, needs=tuple(step.name for step in todo))]


def list_cluster_steps(world: World) -> list[Step[World]]:
    """The steps that bring a cluster, the images, and a registry that the cluster can reach."""
    if world.config.elsewhere:
        return [ImagesStep(needs=()), MirrorStep(), RemoteCluster(), ServedStep()]
    cluster = ExistingCluster() if world.config.context else KindCluster()
    return [EngineStep(), ImagesStep(), RegistryStep(), cluster, PreloadStep()]
