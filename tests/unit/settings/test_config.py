from __future__ import annotations

import dataclasses
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from bootstrap.core.errors import PreconditionError, UsageError
from bootstrap.core.model import Secret
from bootstrap.settings import config as module
from bootstrap.settings.config import SETTINGS, Config, GitSettings, NotifySettings, describe, list_secrets, load, read

ROOT = Path(__file__).resolve().parents[3]
Write = Callable[[str], Path]
Found = list[tuple[str, int, str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(text: str) -> Path:
        file = tmp_path / "invoke.yaml"
        file.write_text(text)
        return file

    return make


def faults(
    file: Path, environ: Mapping[str, str] | None = None, sets: Sequence[str] = ()
) -> list[tuple[str, int, str]]:
    with pytest.raises(UsageError) as caught:
        load(file, environ or {}, sets)
    return [(fault.where, fault.line, fault.text) for fault in caught.value.faults]


def flat(document: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in document.items():
        found |= {f"{key}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {key: value}
    return found


def test_the_shipped_file_says_every_setting_with_its_default() -> None:
    file = ROOT / "invoke.yaml"
    assert load(file, {}) == Config()
    assert list(flat(yaml.safe_load(file.read_text()))) == list(SETTINGS)


def test_the_page_says_every_setting_with_its_default() -> None:
    """docs/configure.md: a row per setting, in the same order, its default in the second cell."""
    page = (ROOT / "docs/configure.md").read_text().partition("## Every setting\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \|", page, re.MULTILINE)
    defaults = {row.key: row.value for row in describe(Config())}
    secret = {key for key, meta in SETTINGS.items() if meta.secret}
    wanted = [
        (key, "(secret) empty" if key in secret else "empty" if value == '""' else f"`{value}`")
        for key, value in defaults.items()
    ]
    assert rows == wanted


def test_an_empty_file_means_defaults(write: Write) -> None:
    assert load(write(""), {}) == load(write("# nothing\n"), {}) == Config()


def test_later_layers_win_and_are_named(write: Write) -> None:
    file = write("name: file\ngit:\n  port: 1001\n  revision: file\napp: {port: 1002}\nlistener:\n  port: 1003\n")
    environ = {"INVOKE_GIT_PORT": "2001", "INVOKE_APP_PORT": "2002", "INVOKE_NAME": "env", "HOME": "/root"}
    config = load(file, environ, ["git.port=3001", "git.username=a"], {"name": "flag", "arch": ""})
    assert (config.git.port, config.app.port, config.listener.port) == (3001, 2002, 1003)
    assert (config.name, config.git.revision, config.git.username) == ("flag", "file", "a")
    assert {key: config.origin(key) for key in ("git.port", "app.port", "listener.port", "name", "arch")} == {
        "git.port": "--set git.port",
        "app.port": "INVOKE_APP_PORT",
        "listener.port": "invoke.yaml line 7",
        "name": "--name",
        "arch": "default",
    }


def test_a_value_may_hold_an_equals_sign(write: Write) -> None:
    assert load(write(""), {}, ["git.password=a=b"]).git.password == Secret("a=b")


def test_text_stays_as_it_was_typed(write: Write) -> None:
    config = load(write("git: {revision: 1.10, password: 007}\nregistry: {username: yes}\n"), {})
    assert (config.git.revision, config.git.password.reveal(), config.registry.username) == ("1.10", "007", "yes")


def test_keys_of_invoke_itself_are_left_to_it(write: Write) -> None:
    text = "run: {echo: true}\nrunners: {}\nsudo: {}\ntasks: {dedupe: false}\ntimeouts: {}\ndebug: false\n"
    assert load(write(text), {"INVOKE_RUN_ECHO": "1", "INVOKE_DEBUG": "1"}) == Config()


def test_every_fault_of_every_layer_is_told_at_once(write: Write) -> None:
    file = write(
        "name: Demo\n"
        "contxt: x\n"
        "git:\n"
        "  prot: 1\n"
        "  port: many\n"
        "  port: 5\n"
        "  revision:\n"
        "registry:\n"
        "  port: 70000\n"
        "  username: [a]\n"
        "app: 3\n"
        "pipelin: {}\n"
    )
    found = faults(file, {"INVOKE_GIT_PROT": "1", "INVOKE_APP_PORT": "x"}, ["nonsense", "git=1", "git.pot=2"])
    assert found == [
        ("--set", 0, '"nonsense": KEY=VALUE is expected, as in git.port=3000'),
        ("--set git", 0, "git: is a group; name a setting below it"),
        ("--set git.pot", 0, "git.pot: unknown key; did you mean git.port?"),
        ("INVOKE_APP_PORT", 0, 'app.port: "x" is not a whole number'),
        ("INVOKE_GIT_PROT", 0, "no setting has this variable; did you mean INVOKE_GIT_PORT?"),
        ("invoke.yaml", 1, 'name: "Demo" is not a name of lower-case letters, digits and inner hyphens'),
        ("invoke.yaml", 2, "contxt: unknown key; did you mean context?"),
        ("invoke.yaml", 4, "git.prot: unknown key; did you mean git.port?"),
        ("invoke.yaml", 5, 'git.port: "many" is not a whole number'),
        ("invoke.yaml", 6, "git.port: given twice, first on line 5"),
        ("invoke.yaml", 7, 'git.revision: nothing where one value is expected (empty text is "")'),
        ("invoke.yaml", 9, "registry.port: 70000 is not between 0 and 65535"),
        ("invoke.yaml", 10, 'registry.username: a list where one value is expected (empty text is "")'),
        ("invoke.yaml", 11, 'app: "3" where settings below it are expected'),
        ("invoke.yaml", 12, "pipelin: unknown key; did you mean pipeline?"),
    ]


def test_the_message_counts_and_places_the_faults(write: Write) -> None:
    with pytest.raises(UsageError, match=r"^invoke\.yaml: 2 faults$"):
        load(write("a: 1\nb: 2\n"), {})
    with pytest.raises(UsageError, match=r"^the settings: 2 faults$"):
        load(write("a: 1\n"), {"INVOKE_GIT_PORT": "x"})


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("name: [", 1, "it is not YAML: did not find expected node content"),
        ("a: b: c", 1, "it is not YAML: mapping values are not allowed in this context"),
        ("name: x\n\tgit: y", 2, "it is not YAML"),
        ("name: x\x07", 1, "it is not YAML: control characters are not allowed"),
        ("- a\n- b", 1, "holds a list where settings (key: value) are expected"),
        ("hello", 1, 'holds "hello" where settings (key: value) are expected'),
        ("name: &a x", 1, "&a: anchors are not accepted; write the value out"),
        ("name: !!python/object/apply:os.system [id]", 1, "tags are not accepted"),
        ("name: a\n---\nname: b", 2, "a second document (---) is not accepted"),
        ("? [a]\n: b", 1, "a list cannot be a key"),
        ("[" * 5000, 1, "it is nested deeper than 16 levels"),
        ("{a: " * 5000, 1, "it is nested deeper than 16 levels"),
    ],
)
def test_what_is_not_settings_is_refused_by_line(write: Write, text: str, line: int, part: str) -> None:
    found = faults(write(text))
    assert [each for each in found if each[1] == line and part in each[2]], found


def test_an_alias_bomb_is_refused_before_it_can_grow(write: Write) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    found = faults(write("\n".join(levels)))
    assert ("invoke.yaml", 1, "&a0: anchors are not accepted; write the value out") in found


def test_files_that_cannot_be_read_are_faults(tmp_path: Path) -> None:
    file = tmp_path / "invoke.yaml"
    assert faults(file) == [("invoke.yaml", 0, f"there is no such file: {file}")]
    file.mkdir()
    assert faults(file) == [("invoke.yaml", 0, "it cannot be read: Is a directory")]
    file.rmdir()
    file.write_bytes(b"name: demo\ngit: \xff\n")
    assert faults(file) == [("invoke.yaml", 2, "it is not UTF-8 text")]
    file.write_bytes(b"# \n" * 100_000)
    assert faults(file) == [("invoke.yaml", 0, "it is larger than 256 KiB")]


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("name", ["a", "my-env-2", "a" * 40], ["", "-a", "a-", "A", "a_b", "a.b", "a" * 41, "a b"]),
        ("engine", ["auto", "docker", "managed"], ["podman", ""]),
        ("supply", ["source", "upstream"], ["elsewhere"]),
        ("arch", ["auto", "amd64", "arm64"], ["x86_64"]),
        ("git.port", ["0", "65535"], ["-1", "65536", "1e3", "0x10", "010", "true", "", "3000.0", "9" * 50]),
        ("app.replicas", ["1"], ["0"]),
        (
            "git.url",
            ["", "https://github.com/you/app.git"],
            ["git@github.com:you/app.git", "ftp://x/y", "https://", "x"],
        ),
        ("git.revision", ["main", "v1.2", "feature/x", "3f9c2e1"], ["", "-x", "a..b", "a b", "a;b"]),
        ("target.namespace", ["demo", "a" * 63], ["", "Demo", "a" * 64]),
        ("target.server", ["", "https://10.0.0.1:6443"], ["http://10.0.0.1", "10.0.0.1:6443", "https://x:port"]),
        (
            "pipeline.image",
            ["", "registry.tekton.internal:5000/demo/app"],
            ["app", "host/app:1", "host/app@sha256:ab", "H/a"],
        ),
        ("pipeline.dockerfile", ["Dockerfile", "a/b/Dockerfile"], ["", "/etc/passwd", "../x", "a/../../x", "-f"]),
        ("pipeline.directory", [".", "services/api"], ["", "/", ".."]),
        ("registry.password", ["", "correct horse"], ["a\nb", "x" * 73]),
        ("registry.username", ["builder"], ["", "a:b", "a b"]),
        ("git.logins", ["", "https://a:b@c https://d:e@c/f"], ["https://c", "a:b", "https://a:b@c https://d:e@c"]),
        (
            "apps.repository",
            ["", "platform", "https://git.example.com/platform.git", "http://git.git.svc.cluster.local/platform.git"],
            ["Platform", "git@host:a.git", "ssh://host/a", "https://user:password@host/a", "team/platform", "a b"],
        ),
        ("apps.path", ["apps", "", ".", "a/b"], ["/apps", "../apps", "-apps"]),
        ("apps.interval", ["5", "3600"], ["4", "0", "3601"]),
        (
            "webhook.branches",
            ["main", "main, release/*", "*", "v1.*,feature/x_y-z", "分支, é/*"],
            [
                "",
                " ",
                "main,",
                ",",
                "a,,b",
                "-x",
                "a..b",
                "a b",
                "a//b",
                "/a",
                'a"',
                "a;b",
                "refs(x)",
                "a$",
                "a|b",
                "[a]",
            ],
        ),
        (
            "webhook.repositories",
            ["", "you/app", "you/app, group/sub/app", "https://git.example.org:8443/a/b.git, you/app"],
            ["app", "/app", "you/", "-you/app", "you/app x", 'you/"', "git@h:a/b", "ssh://h/a", "https://u:p@h/a", ","],
        ),
        ("webhook.debug", ["on", "off"], ["", "true", "yes", "1"]),
        ("webhook.replicas", ["1", "10"], ["0", "11", ""]),
        ("upstream.releases", ["https://copy.example.com/tekton"], ["", "copy.example.com", "https://u:p@h/a"]),
        (
            "upstream.registries",
            ["", "docker.io=registry.test:5000", "docker.io=[::1]:5000/hub/x, ghcr.io=registry.test/ghcr"],
            ["docker.io", "=x", "docker.io=", "docker.io=h/UP", "docker.io=h/", "docker.io=https://h", "a b=h", ","],
        ),
        ("notify.url", ["https://hooks.example.com/T0/x"], ["hooks.example.com", "file:///etc/passwd"]),
    ],
)
def test_what_each_setting_accepts(write: Write, key: str, good: list[str], bad: list[str]) -> None:
    for text in good:
        load(write(""), {}, [f"{key}={text}"])
    for text in bad:
        found = faults(write(""), {}, [f"{key}={text}"])
        assert [where for where, _, _ in found] == [f"--set {key}"], text


def test_texts_between_commas_are_kept_in_order_and_once(write: Write) -> None:
    config = load(write("webhook:\n  branches: main , release/*,main\n"), {})
    assert config.webhook.branches == ("main", "release/*")
    assert [row.value for row in describe(config) if row.key == "webhook.branches"] == ["main, release/*"]
    assert [row.value for row in describe(config) if row.key == "webhook.repositories"] == ['""']


def test_credentials_in_an_address_are_refused_and_not_repeated(write: Write) -> None:
    found = faults(write("git:\n  url: https://me:hunter2@example.com/x.git\n"))
    assert found == [
        ("invoke.yaml", 2, "git.url: has credentials in the address; give them as username and password"),
    ]


def test_a_faulty_secret_is_not_repeated(write: Write) -> None:
    found = faults(write("notify: {kind: generic, url: hunter2}\n"), {"INVOKE_GIT_PASSWORD": "hunter2\n"})
    assert len(found) == 2
    assert "hunter2" not in str(found)


def test_all_that_must_not_be_shown_is_known() -> None:
    config = Config(
        git=GitSettings(password=Secret("one"), logins=Secret("https://a:t%2Fwo@b https://a:three@c")),
        notify=NotifySettings(secret=Secret("four")),
    )
    assert {each.reveal() for each in list_secrets(config)} >= {"one", "t/wo", "three", "four"}
    assert list_secrets(Config()) == []


def test_secrets_are_masked_and_better_not_in_the_file(write: Write) -> None:
    config = load(write("git:\n  password: hunter2\n"), {"INVOKE_REGISTRY_PASSWORD": "hunter2"})
    shown = {row.key: row.value for row in describe(config)}
    assert (shown["git.password"], shown["registry.password"], shown["notify.url"]) == ("***", "***", '""')
    assert "hunter2" not in repr(config) + repr(describe(config))
    assert config.warnings == (
        "invoke.yaml line 2: git.password is better given as INVOKE_GIT_PASSWORD, out of the file",
    )


def test_describe_says_value_origin_and_meaning_of_all() -> None:
    rows = describe(load(ROOT / "invoke.yaml", {"INVOKE_GIT_PORT": "3000"}))
    assert [row.key for row in rows] == list(SETTINGS)
    assert all(row.doc for row in rows)
    assert {row.key: (row.value, row.origin) for row in rows}["git.port"] == ("3000", "INVOKE_GIT_PORT")


def test_settings_that_contradict_each_other(write: Write) -> None:
    file = write("git:\n  port: 9080\nnotify:\n  kind: generic\n")
    assert faults(file) == [
        ("invoke.yaml", 2, "git.port: 9080 is taken by listener.port"),
        ("invoke.yaml", 4, "notify.kind: generic needs notify.url (INVOKE_NOTIFY_URL)"),
    ]


@pytest.mark.parametrize(("machine", "expected"), [("x86_64", "amd64"), ("AMD64", "amd64"), ("aarch64", "arm64")])
def test_the_architecture_is_the_machines(monkeypatch: pytest.MonkeyPatch, machine: str, expected: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert Config().architecture == expected
    assert Config(arch="arm64").architecture == "arm64"


def test_an_unknown_machine_is_a_precondition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(PreconditionError, match="riscv64"):
        _ = Config().architecture


def test_settings_cannot_be_changed_in_passing() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().git.port = 1  # type: ignore[misc]


def test_what_is_faulty_has_its_default_and_the_rest_its_value(write: Write) -> None:
    config, found = read(write("name: x\ngit: {port: many}\n"), {"INVOKE_APP_PORT": "x"})
    assert (config.name, config.git.port, config.app.port) == ("x", 0, 0)
    assert [(fault.where, fault.line) for fault in found] == [("INVOKE_APP_PORT", 0), ("invoke.yaml", 2)]


def test_importing_settings_stays_cheap() -> None:
    """Every command, also `invoke --list`, pays for it: nothing heavy may come along."""
    program = f"import sys; import {module.__name__}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"yaml", "rich", "kubernetes", "sh", "invoke", "cryptography", "difflib", "platform", "subprocess"}
    assert heavy.isdisjoint(run.stdout.split())


def test_the_help_of_dashboard_names_its_default_port() -> None:
    line = next(line for line in (ROOT / "tasks.py").read_text().splitlines() if "default: dashboard.port" in line)
    assert f"(default: dashboard.port, {Config().dashboard.port}, " in line
