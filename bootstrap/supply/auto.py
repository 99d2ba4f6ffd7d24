"""`supply: auto`: what is in reach is measured in two seconds, and the nearest supply that has all of it is taken.

An environment that exists keeps the supply that it was made with: another one may bring another node image, which
would be a new cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bootstrap.core.errors import BootstrapError, UsageError
from bootstrap.settings.config import Config
from bootstrap.supply import bundle_file, upstream_lock
from bootstrap.supply.mirror import ENVIRONMENT, environment_tag
from bootstrap.supply.versions import versions
from bootstrap.world import probe
from bootstrap.world.probe import all_within
from bootstrap.world.registry.http import RegistryHttp
from bootstrap.world.shell import Shell

LIMIT = 2.0
"""Seconds for all probes together."""
ORDER = ("bundle", "mirror", "upstream", "source")
"""The nearest first. The last one needs no other than the machine's own package registries."""


@dataclass(frozen=True)
class Option:
    """Whether a supply has what this checkout needs; why, or why not."""

    fits: bool
    why: str


@dataclass(frozen=True)
class Choice:
    supply: str
    why: str


PUBLIC_ADDRESS = {"docker.io": "registry-1.docker.io"}
"""A registry's name in references -> the host that serves it, where they differ."""
LATE = Option(False, f"it does not answer within {LIMIT:g} s")


def decide(found: Mapping[str, Option]) -> Choice:
    """The first of ORDER that fits, and what kept the ones before it from being taken. source always does."""
    lost: list[str] = []
    for name in ORDER:
        option = found.get(name)
        if option and option.fits:
            return Choice(name, "; ".join([option.why, *lost]))
        if option:
            lost.append(f"not {name}: {option.why}")
    return Choice("source", "; ".join(["everything is built here", *lost]))


def choose(shell: Shell, config: Config, project: Path, *, made_with: str = "", without: str = "") -> Choice:
    """made_with: the supply of an environment that exists, "" for a new one. without: one that is not to be taken.

    Raises UsageError where the settings lack what that supply needs.
    """
    if made_with and made_with != without:
        needed = {"bundle": ("bundle.file", config.bundle.file), "mirror": ("mirror.registry", config.mirror.registry)}
        setting, value = needed.get(made_with, ("", "set"))
        if not value:
            message = f"environment {config.name} was made with supply {made_with}, but {setting} is not set"
            raise UsageError(message, hint=f"set {setting}, or another supply: --set supply=source")
        return Choice(made_with, f"environment {config.name} was made with it")
    probes: dict[str, Callable[[], Option]] = {
        "bundle": lambda: bundle_option(config, project),
        "mirror": lambda: mirror_option(shell, config, project),
        "upstream": lambda: upstream_option(config, project),
    }
    probes.pop(without, None)
    return decide(all_within(probes, LIMIT, late=LATE))


def bundle_option(config: Config, project: Path) -> Option:
    """Its head is read, which is quick for a file of any size; its checksums are compared when it is used."""
    if not config.bundle.file:
        return Option(False, "bundle.file is not set")
    file = Path(config.bundle.file).expanduser().absolute()
    try:
        said, _ = bundle_file.describe(file)
    except BootstrapError as error:
        return Option(False, error.message)
    if said.arch != config.architecture or dict(said.versions) != versions(project):
        return Option(False, f"{file.name} was made for another architecture, or by another version")
    return Option(True, f"{file.name} has what this checkout needs")


def mirror_option(shell: Shell, config: Config, project: Path) -> Option:
    if not config.mirror.registry:
        return Option(False, "mirror.registry is not set")
    registry = config.mirror.registry
    name = f"{ENVIRONMENT}:{environment_tag(config.architecture, versions(project))}"
    answer = RegistryHttp(shell, config.mirror, LIMIT).find_manifest(name)
    if answer.status == 200:
        return Option(True, f"{registry} has what this checkout needs")
    causes = {
        0: f"{registry} does not answer ({answer.cause})",
        401: f"{registry} wants a login, or another one",
        403: f"{registry} does not let us in",
        404: f"{registry} has no environment for this checkout",
    }
    return Option(False, causes.get(answer.status, f"{registry} answers {answer.status}"))


def upstream_option(config: Config, project: Path) -> Option:
    """Its lock has to be whole; then the host of the releases and every registry in it, or its copy, has to answer."""
    settings = config.upstream
    try:
        lock = upstream_lock.read(project / Path(settings.lock).expanduser())
    except BootstrapError as error:
        return Option(False, error.message)
    if upstream_lock.gaps(lock, upstream_lock.wanted(project), config.architecture):
        return Option(False, f"{settings.lock} is not complete ({upstream_lock.COMMAND})")
    copies = dict(each.split("=", 1) for each in settings.registries)
    domains = sorted({image.parsed.domain for image in lock.images.values()})
    hosts = [copies.get(domain, domain).partition("/")[0] for domain in domains]
    scheme = {
        host: "http" if domain in copies and settings.plain_http == "on" else "https"
        for domain, host in zip(domains, hosts, strict=True)
    }
    urls = [settings.releases, *(f"{scheme[host]}://{PUBLIC_ADDRESS.get(host, host)}/v2/" for host in hosts)]
    answers = probe.side_by_side(lambda url: probe.ask(url, LIMIT), urls, LIMIT)
    silent = [url for url in urls if not answers[url]]
    if silent:
        return Option(False, f"{urlsplit(silent[0]).netloc} does not answer")
    return Option(True, f"{len(urls)} public hosts, or copies of them, answer")
