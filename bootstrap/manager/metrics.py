"""The manager's metrics, made of what it knows at the moment it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from bootstrap.incluster.run_queue import Phase
from bootstrap.manager.shared_state import CONDITIONS, SharedState

PREFIX = "tekton_bootstrap_manager"


def make_registry(leads: Callable[[], bool], get_state: Callable[[], SharedState | None]) -> CollectorRegistry:
    """leads: whether this manager does. get_state: None before it leads: then it knows nothing else."""
    made = CollectorRegistry()
    made.register(_Known(leads, get_state))
    ProcessCollector(registry=made)
    return made


class _Known(Collector):
    def __init__(self, leads: Callable[[], bool], get_state: Callable[[], SharedState | None]) -> None:
        self._leads = leads
        self._get_state = get_state

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(f"{PREFIX}_leads", "1 if this manager holds the Lease.", value=self._leads())
        state = self._get_state()
        if state is None:
            return
        applications = GaugeMetricFamily(
            f"{PREFIX}_applications", "Applications, by the reason of their condition Ready.", labels=["condition"]
        )
        found = Counter(state.conditions.values())
        for condition in CONDITIONS:
            applications.add_metric([condition], found[condition])
        yield applications
        runs = GaugeMetricFamily(f"{PREFIX}_runs", "Runs of applications that are not over.", labels=["state"])
        phases = Counter(run.phase for run in state.runs if not run.superseded)
        runs.add_metric(["waiting"], phases[Phase.WAITS])
        runs.add_metric(["going_on"], phases[Phase.BUILDS] + phases[Phase.DEPLOYS])
        yield runs
        yield CounterMetricFamily(
            f"{PREFIX}_runs_superseded", "Runs that were ended as superseded since the start.", value=state.superseded
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_clock_pass_seconds", "How long the last pass of the work by the clock took.", value=state.passed
        )
        yield CounterMetricFamily(
            f"{PREFIX}_clock_failures", "What failed in the work by the clock since the start.", value=state.failures
        )
