"""Settings: the typed form of invoke.yaml, its layers, and where each value came from.

Layers, later ones win: defaults, invoke.yaml, environment (INVOKE_GIT_PORT), flags (--name, --set git.port=1).
Every fault of every layer is found before one UsageError tells them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bootstrap.core import constants
from bootstrap.core.errors import Fault, PreconditionError, UsageError
from bootstrap.core.model import Secret
from bootstrap.core.text import format_count
from bootstrap.incluster import chat_formats
from bootstrap.settings import git_logins, validators
from bootstrap.settings.run_limits import longest_rollout
from bootstrap.settings.sources import Given, Layers, to_variable
from bootstrap.settings.validators import Meta

_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class ClusterSettings:
    """`cluster.*`: the kind cluster of the environment."""

    config: str = validators.text(
        "kind-config.yaml", "kind's own configuration, from the project's folder", empty=False
    )
    api_port: int = validators.port(0, "port of the API server on 127.0.0.1; 0: a free one")


@dataclass(frozen=True)
class RegistrySettings:
    """`registry.*`: the environment's own registry and its login."""

    port: int = validators.port(0, "on 127.0.0.1; 0: a free one")
    username: str = validators.text("builder", "who pushes and pulls", validators.user, empty=False)
    password: Secret = validators.secret("empty: a random one", validators.at_most(72))  # bcrypt looks at no more


@dataclass(frozen=True)
class GitSettings:
    """`git.*`: the repository that runs build, and the environment's own git server."""

    url: str = validators.text(
        "", "a repository elsewhere; empty: the environment's own", validators.url("http", "https")
    )
    revision: str = validators.text("main", "branch, tag or commit", validators.revision, empty=False)
    port: int = validators.port(0, "the environment's own server on 127.0.0.1; 0: a free one")
    username: str = validators.text("developer", "who clones and pushes", validators.user, empty=False)
    password: Secret = validators.secret("empty: a random one; of a repository elsewhere: none", validators.at_most(72))
    logins: Secret = validators.secret(
        "of further repositories: https://USER:PASSWORD@HOST or .../PATH, separated by spaces", validators.logins
    )
    webhook: str = validators.choice("on", "the environment's own server tells the listener of a push", ("on", "off"))


@dataclass(frozen=True)
class AppSettings:
    """`app.*`: the demo application in the environment's cluster."""

    port: int = validators.port(0, "go-echo on 127.0.0.1; 0: a free one")
    replicas: int = validators.whole(2, "pods of go-echo", 1, 50)


@dataclass(frozen=True)
class ApplicationSettings:
    """`apps.*`: the applications that are declared beside the demo."""

    folder: str = validators.text("apps", "folder of the files that declare applications", empty=False)
    concurrent_runs: int = validators.whole(2, "runs of applications that go on at one time; the others wait", 1, 50)
    repository: str = validators.text(
        "",
        "repository that declares applications: an address, or a name on the environment's own git server; empty: none",
        validators.own_or_url,
    )
    branch: str = validators.text("main", "branch of it that is applied", validators.revision, empty=False)
    path: str = validators.text(
        "apps", "folder of it, with those below; empty: the whole repository", validators.within
    )
    interval: int = validators.whole(30, "seconds between two looks at it", 5, 3600)


@dataclass(frozen=True)
class TargetSettings:
    """`target.*`: the cluster and namespace that the pipeline deploys to."""

    kubeconfig: str = validators.text("", "file for the cluster deployed to; empty: the same cluster")
    context: str = validators.text("", "context within that file; empty: its current one")
    server: str = validators.text(
        "", "that cluster's API server as a pod reaches it; empty: worked out", validators.url("https")
    )
    namespace: str = validators.text("demo", "namespace deployed to", validators.label(), empty=False)
    token_hours: int = validators.whole(720, "life of the minted token", 1, 8760)


@dataclass(frozen=True)
class PipelineSettings:
    """`pipeline.*`: what a run builds, pushes and deploys, and its limits."""

    image: str = validators.text("", "repository pushed to; empty: the environment's registry", validators.repository)
    dockerfile: str = validators.text("Dockerfile", "path within the repository", validators.within, empty=False)
    directory: str = validators.text(".", "build context within the repository", validators.within, empty=False)
    deployment: str = validators.text(
        constants.DEMO_APP, "Deployment whose image is set", validators.label(), empty=False
    )
    container: str = validators.text(constants.DEMO_APP, "container within it", validators.label(), empty=False)
    timeout_minutes: int = validators.whole(20, "limit of one run, its notification included", 5, 1440)
    rollout_seconds: int = validators.whole(0, "limit of one rollout; 0: as long as the run's time allows", 0, 86400)
    cache_gigabytes: int = validators.whole(5, "size of BuildKit's cache", 1, 1000)
    builder_gigabytes: int = validators.whole(4, "memory that all builds at one time may take", 1, 1000)
    builder_parallelism: int = validators.whole(4, "steps of Dockerfiles that run at one time", 1, 256)


@dataclass(frozen=True)
class TektonSettings:
    """`tekton.*`: what of Tekton is switched on beside what the pipeline needs."""

    resolvers: tuple[str, ...] = validators.texts(
        (),
        "remote resolvers for pipelines of your own: bundles, cluster, git, http, hub",
        validators.one_of("bundles", "cluster", "git", "http", "hub"),
    )


@dataclass(frozen=True)
class NotifySettings:
    """`notify.*`: where the end of a run is sent. The kinds are those of `incluster.chat_formats`."""

    kind: str = validators.choice("none", "how the end of a run is told", ("none", "generic", *chat_formats.ROBOTS))
    url: Secret = validators.secret("where to; often holds a token", validators.url("http", "https"))
    secret: Secret = validators.secret("what some chat services want messages signed with", validators.at_most(200))


@dataclass(frozen=True)
class ProxySettings:
    """`proxy.*`: the HTTP proxy of nodes and pods."""

    http: str = validators.text(
        "", "for nodes and pods; empty: HTTP_PROXY, if they can use it", validators.url("http", "https")
    )
    https: str = validators.text("", "the same for https; empty: HTTPS_PROXY", validators.url("http", "https"))
    exempt: tuple[str, ...] = validators.texts(
        (), "hosts and domains reached without; empty: NO_PROXY", validators.line
    )


@dataclass(frozen=True)
class BundleSettings:
    """`bundle.*`: the file that supply `bundle` reads."""

    file: str = validators.text("", "what supply bundle takes everything from; see invoke bundle")


@dataclass(frozen=True)
class MirrorSettings:
    """`mirror.*`: the user's registry for supply `mirror`, and its login."""

    registry: str = validators.text("", "HOST[:PORT] that invoke mirror fills, for supply mirror", validators.host)
    folder: str = validators.text("tekton-bootstrap", "path below which all images are", validators.folder, empty=False)
    username: str = validators.text(
        "", "who pushes and pulls; empty: as docker's own configuration says", validators.user
    )
    password: Secret = validators.secret("of that user", validators.at_most(4096))
    ca_file: str = validators.text("", "its CA, if the machine does not know it")
    plain_http: str = validators.choice("off", "on: it may be without TLS", ("off", "on"))
    parallel: int = validators.whole(6, "images that are moved at the same time", 1, 32)


@dataclass(frozen=True)
class UpstreamSettings:
    """`upstream.*`: public sources for supply `upstream`, or the user's copies of them."""

    releases: str = validators.text(
        "https://infra.tekton.dev/tekton-releases",
        "address below which Tekton's releases are, or that of a copy",
        validators.url("http", "https"),
        empty=False,
    )
    registries: tuple[str, ...] = validators.texts(
        (), "copies of public registries: docker.io=HOST[:PORT][/FOLDER], separated by commas", validators.stand_in
    )
    packages: str = validators.text("", "a copy of Debian's package archive", validators.url("http", "https"))
    lock: str = validators.text("images/upstream.lock.json", "what invoke images --lock writes", empty=False)
    username: str = validators.text("", "for the copies named here, and for no public host", validators.user)
    password: Secret = validators.secret("of that user", validators.at_most(4096))
    ca_file: str = validators.text("", "CA of those copies, if the machine does not know it")
    plain_http: str = validators.choice("off", "on: those copies may be without TLS", ("off", "on"))


@dataclass(frozen=True)
class DashboardSettings:
    """`dashboard.*`: ports and address of the console and of Tekton Dashboard."""

    port: int = validators.port(9090, "of the console; the next free one if it is taken, 0: any free one")
    host: str = validators.text(
        "127.0.0.1", "address that the console listens on; others can reach it if it is not loopback", validators.host
    )
    tekton_port: int = validators.port(
        9097, "of Tekton Dashboard, where there is one; a free one if it is taken, or for 0"
    )


@dataclass(frozen=True)
class ListenerSettings:
    """`listener.*`: the local port of `invoke listener`."""

    port: int = validators.port(9080, "on 127.0.0.1; 0: a free one")


@dataclass(frozen=True)
class WebhookSettings:
    """`webhook.*`: which pushes start a run, and the listener's pods."""

    branches: tuple[str, ...] = validators.texts(
        ("main",),
        "branches whose pushes start a run: names, or patterns like release/*",
        validators.branch,
        empty=False,
    )
    repositories: tuple[str, ...] = validators.texts(
        (), "addresses or OWNER/NAME whose pushes do; empty: the one that test-run builds", validators.source
    )
    debug: str = validators.choice("off", "on: a TaskRun prints each event that is accepted", ("off", "on"))
    replicas: int = validators.whole(2, "pods of the listener", 1, 10)
    reconcile_minutes: int = validators.whole(
        5, "how often heads of watched branches are compared with runs, for an event that was lost; 0: never", 0, 59
    )


@dataclass(frozen=True)
class PollSettings:
    """`poll.*`: which repositories are asked for new commits, how often, and what a new commit starts."""

    minutes: int = validators.whole(
        0, "how often repositories are asked for new commits; 0: only by invoke poll", 0, 59
    )
    repositories: tuple[str, ...] = validators.texts(
        (), "addresses that are asked; empty: the one that test-run builds", validators.url("http", "https")
    )
    branches: tuple[str, ...] = validators.texts(
        ("main",), "branches that are looked at: names, or patterns like release/*", validators.branch, empty=False
    )
    template: str = validators.text(
        "", "file of the PipelineRun that is started, from the project's folder; empty: that of test-run"
    )
    first: str = validators.choice("remember", "what a repository starts that is seen first", ("remember", "run"))


@dataclass(frozen=True)
class CleanupSettings:
    """`cleanup.*`: which runs are deleted, and how often."""

    hours: int = validators.whole(1, "how often old runs are deleted; 0: only by invoke cleanup", 0, 23)
    keep: int = validators.whole(20, "newest runs of each pipeline and result that stay", 0, 10_000)
    days: int = validators.whole(3, "younger runs stay as well", 0, 3650)
    exclude: str = validators.text("", "label selector of runs that stay")
    archive: str = validators.choice("off", "on: runs and their logs are kept in a volume", ("off", "on"))
    dry_run: str = validators.choice("off", "on: it only says what it would delete", ("off", "on"))


@dataclass(frozen=True)
class Config:
    """All settings. origins: key -> layer, for those not at their default. warnings: lines to show once per command."""

    name: str = validators.text("demo", "name of the environment", validators.label(40), empty=False)
    context: str = validators.text("", "an existing context to install on; empty: a kind cluster of our own")
    engine: str = validators.choice("auto", "container engine", ("auto", "docker", "managed"))
    supply: str = validators.choice(
        "source", "where images come from", ("source", "upstream", "bundle", "mirror", "auto")
    )
    arch: str = validators.choice("auto", "processor architecture of the images", ("auto", "amd64", "arm64"))
    ca_file: str = validators.text("", "CAs to trust beside the machine's own, everywhere (PEM)")
    cluster: ClusterSettings = ClusterSettings()
    registry: RegistrySettings = RegistrySettings()
    git: GitSettings = GitSettings()
    app: AppSettings = AppSettings()
    apps: ApplicationSettings = ApplicationSettings()
    target: TargetSettings = TargetSettings()
    pipeline: PipelineSettings = PipelineSettings()
    tekton: TektonSettings = TektonSettings()
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
        """Whether pods pull from the user's mirror: an existing cluster (`context`) may be anywhere."""
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


def _list_settings() -> Iterator[tuple[str, Meta]]:
    """(key, Meta) of every setting, in the order of the fields."""
    for item in fields(Config):
        if "setting" in item.metadata:
            yield item.name, item.metadata["setting"]
        elif item.name not in ("origins", "warnings"):
            group: Any = item.default
            yield from ((f"{item.name}.{inner.name}", inner.metadata["setting"]) for inner in fields(group))


SETTINGS: Mapping[str, Meta] = dict(_list_settings())
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
        raise UsageError(summarize_faults(faults), faults=faults)
    return config


def read(
    file: Path,
    environ: Mapping[str, str],
    sets: Sequence[str] = (),
    flags: Mapping[str, str] | None = None,
) -> tuple[Config, list[Fault]]:
    """As `load`; what is faulty has its default, and every fault is answered, sorted by where it is."""
    layers = Layers(SETTINGS)
    layers.read_file(file)
    layers.read_environment(environ)
    layers.read_flags(flags or {})
    layers.read_sets(sets)
    config = _build(layers)
    faults = layers.faults or _find_contradictions(config)
    return config, sorted(faults, key=lambda fault: (fault.where, fault.line))


def describe(config: Config) -> list[Row]:
    """Every setting, its value and where that came from, in the order of invoke.yaml."""
    return [Row(key, _format_value(_get(config, key)), config.origin(key), meta.doc) for key, meta in SETTINGS.items()]


def list_secrets(config: Config) -> list[Secret]:
    """Every secret that was given, the passwords within `git.logins` as well: none of them may be shown."""
    found = [_get(config, key) for key, meta in SETTINGS.items() if meta.secret]
    return [
        each for each in (*found, *(login.password for login in git_logins.parse(config.git.logins.reveal()))) if each
    ]


def _build(layers: Layers) -> Config:
    given, values = layers.given, layers.values
    config = Config(
        origins={key: item.origin for key, item in given.items()},
        warnings=tuple(_warn_of_exposure(key, item) for key, item in given.items() if _is_exposed(key, item)),
    )
    for group in layers.groups:
        own = {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{group}.")}
        config = replace(config, **{group: replace(getattr(config, group), **own)})
    return replace(config, **{key: value for key, value in values.items() if "." not in key})


def _is_exposed(key: str, given: Given) -> bool:
    """A secret typed into a file, which people share and commit."""
    return SETTINGS[key].secret and given.line > 0 and bool(given.text)


def _warn_of_exposure(key: str, given: Given) -> str:
    return f"{given.origin}: {key} is better given as {to_variable(key)}, out of the file"


def _find_contradictions(config: Config) -> list[Fault]:
    """The faults of settings that contradict each other, each at the setting that was typed."""
    found: list[Fault] = []
    if config.notify.kind != "none" and not config.notify.url:
        found.append(_make_fault(config, "notify.kind", f"{config.notify.kind} needs notify.url (INVOKE_NOTIFY_URL)"))
    if config.notify.secret and config.notify.kind not in chat_formats.SIGNED:
        text = f"{config.notify.kind} takes no secret, only {' and '.join(sorted(chat_formats.SIGNED))} do"
        found.append(_make_fault(config, "notify.secret", text))
    longest = longest_rollout(config.pipeline.timeout_minutes)
    if config.pipeline.rollout_seconds > longest:
        text = f"{config.pipeline.rollout_seconds} is more than the {longest} s that a run of "
        text += f"{config.pipeline.timeout_minutes} minutes has for it; set a larger pipeline.timeout_minutes"
        found.append(_make_fault(config, "pipeline.rollout_seconds", text))
    if config.supply == "bundle" and not config.bundle.file:
        found.append(_make_fault(config, "supply", "bundle needs bundle.file (invoke up --bundle FILE)"))
    if config.supply == "mirror" and not config.mirror.registry:
        found.append(_make_fault(config, "supply", "mirror needs mirror.registry"))
    for group, login in (("mirror", config.mirror), ("upstream", config.upstream)):
        if bool(login.username) != bool(login.password):
            text = f"{group}.username and {group}.password go together"
            found.append(_make_fault(config, f"{group}.username", text))
    taken: dict[int, str] = {}
    for key in (key for key in SETTINGS if key.endswith("port")):
        number: int = _get(config, key)
        if number and number in taken:
            # To blame is what was typed, not a default.
            typed, other = sorted((key, taken[number]), key=lambda each: config.origin(each) == "default")
            found.append(_make_fault(config, typed, f"{number} is taken by {other}"))
        taken.setdefault(number, key)
    return found


def _make_fault(config: Config, key: str, text: str) -> Fault:
    where, _, line = config.origin(key).partition(" line ")
    return Fault(where, int(line or 0), f"{key}: {text}")


def summarize_faults(faults: Sequence[Fault]) -> str:
    """ "invoke.yaml: 3 faults", for the message of an error that lists them."""
    places = {fault.where for fault in faults}
    return f"{places.pop() if len(places) == 1 else 'the settings'}: {format_count(len(faults), 'fault')}"


def _get(config: Config, key: str) -> Any:
    group, _, name = key.rpartition(".")
    return getattr(getattr(config, group) if group else config, name)


def _format_value(value: Any) -> str:
    if isinstance(value, Secret):
        return "***" if value else '""'
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text or '""'
