"""Every step of an environment as one list; what each needs says what may run side by side."""

from __future__ import annotations

from bootstrap.steps.cleanup import cleanup
from bootstrap.steps.credentials import CredentialsStep
from bootstrap.steps.deploy_target import TargetStep
from bootstrap.steps.engine import EngineStep
from bootstrap.steps.existing_cluster import ExistingCluster
from bootstrap.steps.images import ImagesStep
from bootstrap.steps.kind_cluster import KindCluster
from bootstrap.steps.listener import listener
from bootstrap.steps.manifest_catalog import builder, demo, git, namespaces, pipeline
from bootstrap.steps.poller import poller
from bootstrap.steps.preload import PreloadStep
from bootstrap.steps.prune import Part, PruneStep
from bootstrap.steps.reconcile import Step
from bootstrap.steps.registry import RegistryStep
from bootstrap.steps.remote_cluster import ClusterElsewhere, MirrorStep, ServedStep
from bootstrap.steps.tekton import tekton
from bootstrap.steps.tekton_dashboard import DashboardStep
from bootstrap.world import World


def steps(world: World) -> list[Step[World]]:
    """The whole of `up`, in the order to read it; `needs` say what may run side by side."""
    todo: list[Step[World]] = [
        *ground(world),
        namespaces(),
        CredentialsStep(),
        tekton(),
        builder(world),
        git(),
        demo(),
        TargetStep(),
        pipeline(),
        listener(),
        poller(),
        cleanup(),
        *([] if world.config.supply == "source" else [DashboardStep()]),
    ]
    parts = tuple(step for step in todo if isinstance(step, Part))
    return [*todo, PruneStep(parts, needs=tuple(step.name for step in todo))]


def ground(world: World) -> list[Step[World]]:
    """What an environment stands on: a cluster, and a registry that it can reach."""
    if world.config.elsewhere:
        return [ImagesStep(needs=()), MirrorStep(), ClusterElsewhere(), ServedStep()]
    cluster = ExistingCluster() if world.config.context else KindCluster()
    return [EngineStep(), ImagesStep(), RegistryStep(), cluster, PreloadStep()]
