"""What the cluster is told of a proxy: variables for those programs that fetch from outside, and for no others.

A proxy with a password is never handed on: it would stand in objects, and in the variables of every process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from bootstrap.core import constants
from bootstrap.core.model import Object
from bootstrap.objects.manifests import get_pod_spec
from bootstrap.objects.patches import Patch, Select
from bootstrap.settings.config import Config, ProxySettings

INSIDE = ("localhost", "127.0.0.1", ".svc", ".cluster.local", constants.REGISTRY_HOST)
"""What no proxy is asked for: by name, because git's client does not know address ranges."""
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def make_variables(settings: ProxySettings) -> dict[str, str]:
    """HTTP_PROXY, HTTPS_PROXY and NO_PROXY, each also in lower case, which is what curl and git read; {} for none."""
    named = {"HTTP_PROXY": settings.http, "HTTPS_PROXY": settings.https}
    found = {name: value for name, value in named.items() if value}
    if found:
        found["NO_PROXY"] = ",".join(dict.fromkeys([*INSIDE, *settings.exempt]))
    return found | {name.lower(): value for name, value in found.items()}


def make_node_variables(settings: ProxySettings) -> dict[str, str]:
    """The variables for kind, which copies its own to nodes: "" removes those that only this machine can use."""
    none = dict.fromkeys((*VARIABLES, *(name.lower() for name in VARIABLES)), "")
    return none | make_variables(settings)


def make_patches(settings: ProxySettings, *selects: Select) -> list[Patch]:
    """Patches that add the variables to those Tasks, Deployments and CronJobs; none without a proxy."""
    found = make_variables(settings)
    return [Patch(select, partial(_add_variables, found=found)) for select in selects] if found else []


def _add_variables(obj: Object, found: Mapping[str, str]) -> None:
    for container in _list_containers(obj):
        env = container.setdefault("env", [])
        env += [{"name": name, "value": value} for name, value in found.items()]


def _list_containers(obj: Object) -> Iterator[Any]:
    pod = get_pod_spec(obj)
    yield from pod["containers"] if pod is not None else obj["spec"]["steps"]


def list_unusable(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables of this machine whose proxy the cluster cannot use -> why."""
    return {
        name: explain_unusable(value)
        for key, name, value in _list_machine_variables(environ)
        if key != "exempt" and explain_unusable(value)
    }


def explain_unusable(url: str) -> str:
    """Why the cluster cannot use a proxy of this machine, "" if it can."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        host = parts.hostname or ""
    except ValueError:
        return "it is not an address"
    if parts.username is not None:
        return "it has a password, which is not handed to pods"
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return "it listens on this machine only, where pods do not reach it"
    return "" if host else "it is not an address"


def adopt_variables(config: Config, environ: Mapping[str, str]) -> Config:
    """The settings, completed by this machine's variables where they leave the proxy open and pods can use it."""
    taken = {
        key: (name, value) for key, name, value in _list_machine_variables(environ) if not getattr(config.proxy, key)
    }
    found: dict[str, Any] = {
        key: value for key, (_, value) in taken.items() if key != "exempt" and not explain_unusable(value)
    }
    if not make_variables(replace(config.proxy, **found)):
        return config
    if "exempt" in taken:
        words = (word.strip() for word in taken["exempt"][1].split(","))
        found["exempt"] = tuple(word for word in words if word and word != "*")
    origins = {f"proxy.{key}": taken[key][0] for key in found}
    return replace(config, proxy=replace(config.proxy, **found), origins={**config.origins, **origins})


def _list_machine_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(setting, variable, value) of those that are set; lower case first, as curl does it."""
    for key, name in (("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY"), ("exempt", "NO_PROXY")):
        for spelling in (name.lower(), name):
            if environ.get(spelling):
                value = environ[spelling]
                yield key, spelling, value if key == "exempt" or "//" in value else f"http://{value}"
                break
