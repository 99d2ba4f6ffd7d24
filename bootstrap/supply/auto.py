"""`supply: auto`: asks in two seconds which supplies answer, and takes the nearest one that has every image.

An environment that exists keeps the supply that it was made with, because another one may have another node image,
which would need a new cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bootstrap.core.errors import BootstrapError, UsageError
from bootstrap.settings.config import Config
from bootstrap.supply import bundle_file, upstream_lock
from bootstrap.supply.mirror import explain_answer, make_environment_name
from bootstrap.supply.versions import read_versions
from bootstrap.world import probe
from bootstrap.world.probe import run_probes
from bootstrap.world.registry.http import RegistryHttp
from bootstrap.world.shell import Shell

LIMIT = 2.0
"""Seconds for all probes together."""
ORDER = ("bundle", "mirror", "upstream", "source")
"""The nearest first. The last one needs no other than the machine's own package registries."""


@dataclass(frozen=True)
class Option:
    """Whether a supply has what this checkout needs, and why or why not."""

    fits: bool
    why: str


@dataclass(frozen=True)
class Choice:
    """The supply that is taken, and why."""

    supply: str
    why: str


PUBLIC_ADDRESS = {"docker.io": "registry-1.docker.io"}
"""A registry's name in references -> the host that serves it, where they differ."""
LATE = Option(False, f"it does not answer within {LIMIT:g} s")


def pick_supply(found: Mapping[str, Option]) -> Choice:
    """The first supply of ORDER that fits, with what is wrong with those before it. source always fits."""
    lost: list[str] = []
    for name in ORDER:
        option = found.get(name)
        if option and option.fits:
            return Choice(name, "; ".join([option.why, *lost]))
        if option:
            lost.append(f"not {name}: {option.why}")
    return Choice("source", "; ".join(["everything is built here", *lost]))


def choose_supply(shell: Shell, config: Config, project: Path, *, made_with: str = "", without: str = "") -> Choice:
    """The supply for this command.

    made_with: the supply of an environment that exists, "" for a new one. without: a supply that is not to be taken, ""
    for none. Raises UsageError if the settings lack what the supply of `made_with` needs.
    """
    if made_with and made_with != without:
        needed = {"bundle": ("bundle.file", config.bundle.file), "mirror": ("mirror.registry", config.mirror.registry)}
        setting, value = needed.get(made_with, ("", "set"))
        if not value:
            message = f"environment {config.name} was made with supply {made_with}, but {setting} is not set"
            raise UsageError(message, hint=f"set {setting}, or another supply: --set supply=source")
        return Choice(made_with, f"environment {config.name} was made with it")
    probes: dict[str, Callable[[], Option]] = {
        "bundle": lambda: probe_bundle(config, project),
        "mirror": lambda: probe_mirror(shell, config, project),
        "upstream": lambda: probe_upstream(config, project),
    }
    probes.pop(without, None)
    return pick_supply(run_probes(probes, LIMIT, late=LATE))


def probe_bundle(config: Config, project: Path) -> Option:
    """Whether the bundle of `bundle.file` is for this checkout and architecture.

    Only its description is read, which is quick for a file of any size; its checksums are compared when it is used.
    """
    if not config.bundle.file:
        return Option(False, "bundle.file is not set")
    file = Path(config.bundle.file).expanduser().absolute()
    try:
        said, _ = bundle_file.describe(file)
    except BootstrapError as error:
        return Option(False, error.message)
    if said.arch != config.architecture or dict(said.versions) != read_versions(project):
        return Option(False, f"{file.name} was made for another architecture, or by another version")
    return Option(True, f"{file.name} has what this checkout needs")


def probe_mirror(shell: Shell, config: Config, project: Path) -> Option:
    """Whether the registry of `mirror.registry` answers, and has the images of this checkout."""
    if not config.mirror.registry:
        return Option(False, "mirror.registry is not set")
    registry = config.mirror.registry
    name = make_environment_name(config.architecture, read_versions(project))
    answer = RegistryHttp(shell, config.mirror, LIMIT).find_manifest(name)
    if answer.status == 200:
        return Option(True, f"{registry} has what this checkout needs")
    return Option(False, explain_answer(registry, answer))


def probe_upstream(config: Config, project: Path) -> Option:
    """Whether the lock is complete, and the host of the releases and every registry of it, or its copy, answers."""
    settings = config.upstream
    try:
        lock = upstream_lock.read(project / Path(settings.lock).expanduser())
    except BootstrapError as error:
        return Option(False, error.message)
    if upstream_lock.find_gaps(lock, upstream_lock.read_wanted(project), config.architecture):
        return Option(False, f"{settings.lock} is not complete ({upstream_lock.COMMAND})")
    copies = dict(each.split("=", 1) for each in settings.registries)
    domains = sorted({image.parsed.domain for image in lock.images.values()})
    hosts = [copies.get(domain, domain).partition("/")[0] for domain in domains]
    scheme = {
        host: "http" if domain in copies and settings.plain_http == "on" else "https"
        for domain, host in zip(domains, hosts, strict=True)
    }
    urls = [settings.releases, *(f"{scheme[host]}://{PUBLIC_ADDRESS.get(host, host)}/v2/" for host in hosts)]
    answers = probe.probe_all(lambda url: probe.read_status(url, LIMIT), urls, LIMIT)
    silent = [url for url in urls if not answers[url]]
    if silent:
        return Option(False, f"{urlsplit(silent[0]).netloc} does not answer")
    return Option(True, f"{len(urls)} public hosts, or copies of them, answer")
