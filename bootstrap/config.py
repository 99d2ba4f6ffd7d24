"""Settings: the typed form of invoke.yaml, its layers, and where each value came from.

Layers, later ones win: defaults, invoke.yaml, environment (INVOKE_GIT_PORT), flags (--name, --set git.port=1).
Every fault of every layer is found before one UsageError tells them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bootstrap import logins, rules
from bootstrap.errors import Fault, PreconditionError, UsageError
from bootstrap.layers import Given, Layers, variable
from bootstrap.model import Secret
from bootstrap.rules import Meta
from bootstrap.text import count

_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class ClusterSettings:
    config: str = rules.text("kind-config.yaml", "kind's own configuration, from the project's folder", empty=False)
    api_port: int = rules.port(0, "port of the API server on 127.0.0.1; 0: a free one")


@dataclass(frozen=True)
class RegistrySettings:
    port: int = rules.port(0, "on 127.0.0.1; 0: a free one")
    username: str = rules.text("builder", "who pushes and pulls", rules.user, empty=False)
    password: Secret = rules.secret("empty: a random one", rules.at_most(72))  # bcrypt looks at no more


@dataclass(frozen=True)
class GitSettings:
    url: str = rules.text("", "a repository elsewhere; empty: the environment's own", rules.url("http", "https"))
    revision: str = rules.text("main", "branch, tag or commit", rules.revision, empty=False)
    port: int = rules.port(0, "the environment's own server on 127.0.0.1; 0: a free one")
    username: str = rules.text("developer", "who clones and pushes", rules.user, empty=False)
    password: Secret = rules.secret("empty: a random one; of a repository elsewhere: none", rules.at_most(72))
    logins: Secret = rules.secret(
        "of further repositories: https://USER:PASSWORD@HOST or .../PATH, separated by spaces", rules.logins
    )
    webhook: str = rules.choice("on", "the environment's own server tells the listener of a push", ("on", "off"))


@dataclass(frozen=True)
class AppSettings:
    port: int = rules.port(0, "go-echo on 127.0.0.1; 0: a free one")
    replicas: int = rules.whole(2, "pods of go-echo", 1, 50)


@dataclass(frozen=True)
class TargetSettings:
    kubeconfig: str = rules.text("", "file for the cluster deployed to; empty: the same cluster")
    context: str = rules.text("", "context within that file; empty: its current one")
    server: str = rules.text("", "that cluster's API server as a pod reaches it; empty: worked out", rules.url("https"))
    namespace: str = rules.text("demo", "namespace deployed to", rules.label(), empty=False)
    token_hours: int = rules.whole(720, "life of the minted token", 1, 8760)


@dataclass(frozen=True)
class PipelineSettings:
    image: str = rules.text("", "repository pushed to; empty: the environment's registry", rules.repository)
    dockerfile: str = rules.text("Dockerfile", "path within the repository", rules.within, empty=False)
    directory: str = rules.text(".", "build context within the repository", rules.within, empty=False)
    deployment: str = rules.text("go-echo", "Deployment whose image is set", rules.label(), empty=False)
    container: str = rules.text("go-echo", "container within it", rules.label(), empty=False)
    timeout_minutes: int = rules.whole(20, "limit of one run, its notification included", 5, 1440)
    cache_gigabytes: int = rules.whole(5, "size of BuildKit's cache", 1, 1000)


NOTIFICATIONS = ("none", "generic", "dingtalk", "wecom", "slack", "feishu")
SIGNED_NOTIFICATIONS = ("dingtalk", "feishu")


@dataclass(frozen=True)
class NotifySettings:
    kind: str = rules.choice("none", "how the end of a run is told", NOTIFICATIONS)
    url: Secret = rules.secret("where to; often holds a token", rules.url("http", "https"))
    secret: Secret = rules.secret("what dingtalk and feishu want messages signed with", rules.at_most(200))


@dataclass(frozen=True)
class ProxySettings:
    http: str = rules.text("", "for nodes and pods; empty: HTTP_PROXY, if they can use it", rules.url("http", "https"))
    https: str = rules.text("", "the same for https; empty: HTTPS_PROXY", rules.url("http", "https"))
    exempt: tuple[str, ...] = rules.texts((), "hosts and domains reached without; empty: NO_PROXY", rules.line)


@dataclass(frozen=True)
class BundleSettings:
    file: str = rules.text("", "what supply bundle takes everything from; see invoke bundle")


@dataclass(frozen=True)
class MirrorSettings:
    registry: str = rules.text("", "HOST[:PORT] that invoke mirror fills, for supply mirror", rules.host)
    folder: str = rules.text("tekton-bootstrap", "path below which all images are", rules.folder, empty=False)
    username: str = rules.text("", "who pushes and pulls; empty: as docker's own configuration says", rules.user)
    password: Secret = rules.secret("of that user", rules.at_most(4096))
    ca_file: str = rules.text("", "its authority, if the machine does not know it")
    plain_http: str = rules.choice("off", "on: it may be without TLS", ("off", "on"))
    parallel: int = rules.whole(6, "images that are moved at the same time", 1, 32)


@dataclass(frozen=True)
class UpstreamSettings:
    releases: str = rules.text(
        "https://infra.tekton.dev/tekton-releases",
        "address below which Tekton's releases are, or that of a copy",
        rules.url("http", "https"),
        empty=False,
    )
    registries: tuple[str, ...] = rules.texts(
        (), "copies of public registries: docker.io=HOST[:PORT][/FOLDER], separated by commas", rules.stand_in
    )
    packages: str = rules.text("", "a copy of Debian's package archive", rules.url("http", "https"))
    lock: str = rules.text("images/upstream.lock.json", "what invoke images --lock writes", empty=False)
    username: str = rules.text("", "for the copies named here, and for no public host", rules.user)
    password: Secret = rules.secret("of that user", rules.at_most(4096))
    ca_file: str = rules.text("", "authority of those copies, if the machine does not know it")
    plain_http: str = rules.choice("off", "on: those copies may be without TLS", ("off", "on"))


@dataclass(frozen=True)
class DashboardSettings:
    port: int = rules.port(9090, "of the console; the next free one if it is taken, 0: any free one")
    host: str = rules.text(
        "127.0.0.1", "address that the console listens on; others can reach it if it is not loopback", rules.host
    )
    tekton_port: int = rules.port(9097, "of Tekton Dashboard, where there is one; a free one if it is taken, or for 0")


@dataclass(frozen=True)
class ListenerSettings:
    port: int = rules.port(9080, "on 127.0.0.1; 0: a free one")


@dataclass(frozen=True)
class WebhookSettings:
    branches: tuple[str, ...] = rules.texts(
        ("main",), "branches whose pushes start a run: names, or patterns like release/*", rules.branch, empty=False
    )
    repositories: tuple[str, ...] = rules.texts(
        (), "addresses or OWNER/NAME whose pushes do; empty: the one that test-run builds", rules.source
    )
    debug: str = rules.choice("off", "on: a TaskRun prints each event that is accepted", ("off", "on"))
    replicas: int = rules.whole(2, "pods of the listener", 1, 10)


@dataclass(frozen=True)
class PollSettings:
    minutes: int = rules.whole(0, "how often repositories are asked for new commits; 0: only by invoke poll", 0, 59)
    repositories: tuple[str, ...] = rules.texts(
        (), "addresses that are asked; empty: the one that test-run builds", rules.url("http", "https")
    )
    branches: tuple[str, ...] = rules.texts(
        ("main",), "branches that are looked at: names, or patterns like release/*", rules.branch, empty=False
    )
    template: str = rules.text(
        "", "file of the PipelineRun that is started, from the project's folder; empty: that of test-run"
    )
    first: str = rules.choice("remember", "what a repository starts that is seen first", ("remember", "run"))


@dataclass(frozen=True)
class CleanupSettings:
    hours: int = rules.whole(1, "how often old runs are deleted; 0: only by invoke cleanup", 0, 23)
    keep: int = rules.whole(20, "newest runs of each pipeline and result that stay", 0, 10_000)
    days: int = rules.whole(3, "younger runs stay as well", 0, 3650)
    exclude: str = rules.text("", "label selector of runs that stay")
    archive: str = rules.choice("off", "on: runs and their logs are kept in a volume", ("off", "on"))
    dry_run: str = rules.choice("off", "on: it only says what it would delete", ("off", "on"))


@dataclass(frozen=True)
class Config:
    """All settings. origins: key -> layer, for those not at their default. warnings: to be shown once."""

    name: str = rules.text("demo", "name of the environment", rules.label(40), empty=False)
    context: str = rules.text("", "an existing context to install on; empty: a kind cluster of our own")
    engine: str = rules.choice("auto", "container engine", ("auto", "docker", "managed"))
    supply: str = rules.choice("source", "where images come from", ("source", "upstream", "bundle", "mirror", "auto"))
    arch: str = rules.choice("auto", "processor architecture of the images", ("auto", "amd64", "arm64"))
    ca_file: str = rules.text("", "authorities to trust beside the machine's own, everywhere (PEM)")
    cluster: ClusterSettings = ClusterSettings()
    registry: RegistrySettings = RegistrySettings()
    git: GitSettings = GitSettings()
    app: AppSettings = AppSettings()
    target: TargetSettings = TargetSettings()
    pipeline: PipelineSettings = PipelineSettings()
    notify: NotifySettings = NotifySettings()
    bundle: BundleSettings = BundleSettings()
    mirror: MirrorSettings = MirrorSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    proxy: ProxySettings = ProxySettings()
    dashboard: DashboardSettings = DashboardSettings()
    listener: ListenerSettings = ListenerSettings()
    webhook: WebhookSettings = WebhookSettings()
    poll: PollSettings = PollSettings()
    cleanup: CleanupSettings = CleanupSettings()
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def elsewhere(self) -> bool:
        """Whether pods pull straight from the mirror, for the cluster may be anywhere: nothing of it is an engine's."""
        return bool(self.context) and self.supply == "mirror"

    @property
    def architecture(self) -> str:
        """amd64 or arm64. Raises PreconditionError on a machine that is neither."""
        if self.arch != "auto":
            return self.arch
        import platform

        machine = platform.machine().lower()
        if machine not in _MACHINES:
            raise PreconditionError(f"this machine is {machine}; amd64 and arm64 are supported", hint="set `arch`")
        return _MACHINES[machine]

    def origin(self, key: str) -> str:
        """Where the value of "git.port" came from: "default", "invoke.yaml line 7", "INVOKE_GIT_PORT", "--name"."""
        return self.origins.get(key, "default")


@dataclass(frozen=True)
class Row:
    """A line of `invoke config`. value: as shown; secrets are masked."""

    key: str
    value: str
    origin: str
    doc: str


def _walk() -> Iterator[tuple[str, Meta]]:
    for item in fields(Config):
        if "setting" in item.metadata:
            yield item.name, item.metadata["setting"]
        elif item.name not in ("origins", "warnings"):
            group: Any = item.default
            yield from ((f"{item.name}.{inner.name}", inner.metadata["setting"]) for inner in fields(group))


SETTINGS: Mapping[str, Meta] = dict(_walk())
"""Every key ("name", "git.port"), in the order of invoke.yaml."""


def load(
    file: Path,
    environ: Mapping[str, str],
    sets: Sequence[str] = (),
    flags: Mapping[str, str] | None = None,
) -> Config:
    """The settings of all layers. sets: "git.port=3000" each. flags: key -> text, as given by --key; "" is not given.

    Raises UsageError with every fault, each with its file and line, variable or flag.
    """
    config, faults = read(file, environ, sets, flags)
    if faults:
        raise UsageError(summary(faults), faults=faults)
    return config


def read(
    file: Path,
    environ: Mapping[str, str],
    sets: Sequence[str] = (),
    flags: Mapping[str, str] | None = None,
) -> tuple[Config, list[Fault]]:
    """As `load`; what is faulty has its default, and every fault is answered, sorted by where it is."""
    layers = Layers(SETTINGS)
    layers.file(file)
    layers.environment(environ)
    layers.flags(flags or {})
    layers.sets(sets)
    config = _build(layers)
    faults = layers.faults or _contradictions(config)
    return config, sorted(faults, key=lambda fault: (fault.where, fault.line))


def describe(config: Config) -> list[Row]:
    """Every setting, its value and where that came from, in the order of invoke.yaml."""
    return [Row(key, _shown(_get(config, key)), config.origin(key), meta.doc) for key, meta in SETTINGS.items()]


def secrets(config: Config) -> list[Secret]:
    """All that were given: what must never be shown."""
    found = [_get(config, key) for key, meta in SETTINGS.items() if meta.secret]
    return [each for each in (*found, *(login.password for login in logins.parse(config.git.logins.reveal()))) if each]


def _build(layers: Layers) -> Config:
    given, values = layers.given, layers.values
    config = Config(
        origins={key: item.origin for key, item in given.items()},
        warnings=tuple(_exposed(key, item) for key, item in given.items() if _is_exposed(key, item)),
    )
    for group in layers.groups:
        own = {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{group}.")}
        config = replace(config, **{group: replace(getattr(config, group), **own)})
    return replace(config, **{key: value for key, value in values.items() if "." not in key})


def _is_exposed(key: str, given: Given) -> bool:
    """A secret typed into a file, which people share and commit."""
    return SETTINGS[key].secret and given.line > 0 and bool(given.text)


def _exposed(key: str, given: Given) -> str:
    return f"{given.origin}: {key} is better given as {variable(key)}, out of the file"


def _contradictions(config: Config) -> list[Fault]:
    """What is wrong only together."""
    found: list[Fault] = []
    if config.notify.kind != "none" and not config.notify.url:
        found.append(_fault(config, "notify.kind", f"{config.notify.kind} needs notify.url (INVOKE_NOTIFY_URL)"))
    if config.notify.secret and config.notify.kind not in SIGNED_NOTIFICATIONS:
        text = f"{config.notify.kind} takes no secret, only {' and '.join(SIGNED_NOTIFICATIONS)} do"
        found.append(_fault(config, "notify.secret", text))
    if config.supply == "bundle" and not config.bundle.file:
        found.append(_fault(config, "supply", "bundle needs bundle.file (invoke up --bundle FILE)"))
    if config.supply == "mirror" and not config.mirror.registry:
        found.append(_fault(config, "supply", "mirror needs mirror.registry"))
    for group, login in (("mirror", config.mirror), ("upstream", config.upstream)):
        if bool(login.username) != bool(login.password):
            text = f"{group}.username and {group}.password go together"
            found.append(_fault(config, f"{group}.username", text))
    taken: dict[int, str] = {}
    for key in (key for key in SETTINGS if key.endswith("port")):
        number: int = _get(config, key)
        if number and number in taken:
            # To blame is what was typed, not a default.
            typed, other = sorted((key, taken[number]), key=lambda each: config.origin(each) == "default")
            found.append(_fault(config, typed, f"{number} is taken by {other}"))
        taken.setdefault(number, key)
    return found


def _fault(config: Config, key: str, text: str) -> Fault:
    where, _, line = config.origin(key).partition(" line ")
    return Fault(where, int(line or 0), f"{key}: {text}")


def summary(faults: Sequence[Fault]) -> str:
    places = {fault.where for fault in faults}
    return f"{places.pop() if len(places) == 1 else 'the settings'}: {count(len(faults), 'fault')}"


def _get(config: Config, key: str) -> Any:
    group, _, name = key.rpartition(".")
    return getattr(getattr(config, group) if group else config, name)


def _shown(value: Any) -> str:
    if isinstance(value, Secret):
        return "***" if value else '""'
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text or '""'
