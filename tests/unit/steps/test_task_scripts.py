"""The scripts of the tasks, run by a real shell: with git for real, with stand-ins for buildctl and kubectl."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from bootstrap.core.paths import PROJECT
from bootstrap.incluster import git_login, run_folders
from bootstrap.objects.manifests import load
from bootstrap.settings import git_logins
from tests.git_host import PASSWORD, USER, Bare, git_host

DIGEST = "sha256:" + "c" * 64
COMMIT = "a" * 40
TMP = "/" + "tmp/"
"""Where the scripts keep files; in a test it is the test's own folder."""


@dataclass(frozen=True)
class Ended:
    code: int
    text: str


def script(task: str) -> str:
    [found] = load(PROJECT / f"manifests/pipeline/task-{task}.yaml")
    [step] = found["spec"]["steps"]
    assert step["command"] == ["sh", "-euc"]
    return str(step["args"][0])


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def program(folder: Path, name: str, text: str) -> None:
    """A stand-in that keeps its arguments, one call a line, in NAME.log."""
    file = folder / name
    file.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$*" | tr "\\n" " " >> {folder}/{name}.log; echo >> {folder}/{name}.log\n{text}'
    )
    file.chmod(0o755)


def calls(folder: Path, name: str) -> list[str]:
    log = folder / f"{name}.log"
    return [line.strip() for line in log.read_text().splitlines()] if log.exists() else []


def run(task: str, folder: Path, text: str = "", **environ: str) -> Ended:
    base = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder.parent), "LC_ALL": "C"}
    argv = ["sh", "-euc", text or script(task)]
    ended = subprocess.run(argv, env=base | environ, capture_output=True, text=True, timeout=30, check=False)
    return Ended(ended.returncode, ended.stdout + ended.stderr)


# -- git-clone ---------------------------------------------------------------------------------------


class Clone:
    def __init__(self, tmp_path: Path, folder: Path) -> None:
        self.tmp_path, self.folder = tmp_path, folder
        self.origin = tmp_path / "origin"
        self.secret, self.runs = tmp_path / "secret", 0
        self.git("init", "--quiet", "--initial-branch=main", str(self.origin), cwd=tmp_path)
        self.first = self.commit("First commit")

    def git(self, *words: str, cwd: Path | None = None) -> str:
        who = ["-c", "user.name=Zoë", "-c", "user.email=z@test"]
        argv = ["git", *who, *words]
        return subprocess.run(argv, cwd=cwd or self.origin, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self, message: str) -> str:
        (self.origin / "file").write_text(message)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def run(
        self,
        revision: str,
        repo: str = "https://git.test/app.git",
        known: Path | None = None,
        name: str = "",
        login: str = "",
    ) -> Ended:
        """https://git.test stands for the origin, by git's own rule for rewriting addresses.

        known: logins. name: of the run. login: the Secret whose files are in `secret`.
        """
        self.runs += 1
        results = {f"RESULT_{name.upper()}": str(self.tmp_path / name) for name in self.names}
        rewrite = {
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": f"url.file://{self.origin}.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://git.test/app.git",
            "GIT_CONFIG_KEY_1": "safe.directory",
            "GIT_CONFIG_VALUE_1": "*",
        }
        text = script("git-clone").replace(
            "GIT_ALLOW_PROTOCOL=http:https:ssh", "GIT_ALLOW_PROTOCOL=http:https:ssh:file"
        )
        text = text.replace(TMP, f"{self.tmp_path}/").replace(git_logins.FOLDER, str(known or self.tmp_path / "none"))
        text = text.replace("/etc/repository-login", str(self.secret)).replace("/run/repository-login", str(self.kept))
        (self.tmp_path / "run").mkdir(exist_ok=True)
        self.kept.mkdir()
        given = {
            "REPO": repo,
            "LOGIN": login,
            "REVISION": revision,
            "RUN": name,
            "DIRECTORY": str(self.tmp_path / "run/source"),
        }
        return run("git-clone", self.folder, text, **given, **results, **rewrite)

    names = ("commit", "author", "branch", "message")

    @property
    def kept(self) -> Path:
        """The volume in memory, of the last run."""
        return self.tmp_path / f"kept-{self.runs}"

    def give(self, **files: str) -> None:
        """What the application's own Secret holds."""
        self.secret.mkdir(exist_ok=True)
        for name, text in files.items():
            (self.secret / name.replace("ssh_", "ssh-")).write_text(text)

    def results(self) -> dict[str, str]:
        return {name: (self.tmp_path / name).read_text() for name in self.names}


@pytest.fixture
def clone(tmp_path: Path, bin_folder: Path) -> Clone:
    return Clone(tmp_path, bin_folder)


def test_the_folder_of_a_run_is_marked_for_the_cleanup_even_if_nothing_is_fetched(clone: Clone) -> None:
    marker = clone.tmp_path / "run" / run_folders.MARKER
    assert clone.run("main").code == 0
    assert not marker.exists(), "without a run's name the folder is not a run's"
    assert clone.run("nowhere", name="run-1").code == 1
    assert marker.read_text() == "run-1\n"


def test_clone_of_a_branch(clone: Clone) -> None:
    second = clone.commit("Second")
    ended = clone.run("main")
    assert ended.code == 0, ended.text
    assert clone.results() == {"commit": second, "author": "Zoë <z@test>", "branch": "main", "message": "Second"}
    assert (clone.tmp_path / "run/source/file").read_text() == "Second"
    depth = clone.git("rev-list", "--count", "HEAD", cwd=clone.tmp_path / "run/source")
    assert depth == "1"


def test_clone_of_a_tag_and_of_a_commit(clone: Clone) -> None:
    clone.git("tag", "--annotate", "v1", "--message", "one")
    clone.commit("Second")
    assert clone.run("v1").code == 0
    assert clone.results()["commit"] == clone.first
    assert clone.run(clone.first).code == 0
    assert clone.results() | {"author": ""} == {
        "commit": clone.first,
        "author": "",
        "branch": "",
        "message": "First commit",
    }


def test_a_locked_repository_is_opened_by_its_own_login(clone: Clone, tmp_path: Path) -> None:
    repositories, folder = tmp_path / "repositories", tmp_path / "logins"
    for each in (repositories, folder):
        each.mkdir()
    commit = Bare(repositories / "app.git").commit("main")
    with git_host(repositories) as host:
        address = host.url("locked/app")
        assert clone.run("main", address, folder).code == 1
        given = address.replace("//", f"//{USER}:{quote(PASSWORD)}@")
        for name, contents in git_logins.render_files(git_logins.parse(given), str(folder)).items():
            (folder / name).write_text(contents)
        ended = clone.run("main", address, folder)
    assert ended.code == 0, ended.text
    assert clone.results()["commit"] == commit
    assert PASSWORD not in ended.text


def test_clone_again_starts_afresh(clone: Clone) -> None:
    assert clone.run("main").code == 0
    (clone.tmp_path / "run/source/left-over").write_text("x")
    assert clone.run("main").code == 0
    assert not (clone.tmp_path / "run/source/left-over").exists()


def test_results_are_short_single_lines(clone: Clone) -> None:
    clone.commit("ä" * 300 + "\x1b[31m")
    assert clone.run("main").code == 0
    assert clone.results()["message"] == "ä" * 100


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("修" * 67, "修" * 66),
        ("a" + "é" * 100, "a" + "é" * 99),
        ("🚀" * 51, "🚀" * 50),
        ("x" * 199 + "\udce9", "x" * 199),  # a lone letter of Latin-1
    ],
)
def test_a_subject_is_cut_between_characters(clone: Clone, subject: str, told: str) -> None:
    (clone.origin / "file").write_text(subject, errors="surrogateescape")
    message = clone.tmp_path / "subject"
    message.write_bytes(subject.encode(errors="surrogateescape"))
    clone.git("-c", "i18n.commitEncoding=utf-8", "commit", "--quiet", "--all", f"--file={message}")
    ended = clone.run("main")
    assert ended.code == 0, ended.text
    assert clone.results()["message"] == told


def test_a_branch_with_a_long_name_in_any_script_is_cloned(clone: Clone) -> None:
    branch = "支" * 70
    clone.git("branch", branch)
    ended = clone.run(branch)
    assert ended.code == 0, ended.text
    assert clone.results()["branch"] == "支" * 66


def test_submodules_come_with_it_by_relative_addresses_and_with_logins(clone: Clone, tmp_path: Path) -> None:
    repositories, logins = tmp_path / "repositories", tmp_path / "logins"
    for folder in (repositories, logins):
        folder.mkdir()
    inner, shared, app = (Bare(repositories / f"{name}.git") for name in ("inner", "shared", "app"))
    for bare in (inner, shared, app):
        bare.commit("main")
    with git_host(repositories) as host:
        locked = host.url("locked/inner")
        given = locked.replace("//", f"//{USER}:{quote(PASSWORD)}@")
        for name, contents in git_logins.render_files(git_logins.parse(given), str(logins)).items():
            (logins / name).write_text(contents)
        for bare, address in ((shared, locked), (app, "../shared.git")):
            work = tmp_path / "work" / bare.folder.stem
            Bare.run("clone", "--quiet", host.url(bare.folder.stem), str(work))
            add = ("submodule", "--quiet", "add", address, f"third party/{address.rpartition('/')[2][:-4]}")
            Bare.run("-C", str(work), "-c", f"include.path={logins}/config", *add)
            Bare.run("-C", str(work), "commit", "--quiet", "--message=With a submodule")
            bare.git("fetch", "--quiet", str(work), "main:main")
        ended = clone.run("main", host.url("app"), logins)
        assert ended.code == 0, ended.text
        source = tmp_path / "run/source"
        assert (source / "third party/shared/third party/inner/.git").exists()
        shared.folder.rename(tmp_path / "gone")
        ended = clone.run("main", host.url("app"), logins)
    assert ended.code == 1
    assert "a submodule could not be fetched" in ended.text
    assert "third party/shared" in ended.text


# -- the login of an application ---------------------------------------------------------------------

SSH = """
for word; do
  case $before in -i) stat -c %a "$word" > LOG.mode; cat "$word" > LOG.key ;; esac
  case $word in UserKnownHostsFile=*) cat "${word#*=}" > LOG.known ;; esac
  before=$word
done
[ -e LOG.refuses ] && { echo "git@git.test: Permission denied (publickey)." >&2; exit 255; }
eval "set -- $word"
exec git upload-pack "ROOT$2"
"""
"""Stands in for ssh: keeps what it was given, and serves the repositories of a folder."""
BY_SSH = "ssh://git@git.test:2222/app.git"


def stand_in_ssh(clone: Clone, root: Path) -> Path:
    """Answers what the names of its notes begin with."""
    log = clone.tmp_path / "ssh-log"
    program(clone.folder, "ssh", SSH.replace("LOG", str(log)).replace("ROOT", str(root)))
    return log


def test_by_ssh_the_key_is_a_file_of_its_user_alone_and_only_pinned_hosts_count(clone: Clone, tmp_path: Path) -> None:
    commit = Bare(tmp_path / "repositories/app.git").commit("main")
    log = stand_in_ssh(clone, tmp_path / "repositories")
    clone.give(ssh_privatekey="-----BEGIN\r\nkey\r\n-----END", known_hosts="[git.test]:2222 ssh-ed25519 AAAA\n")
    ended = clone.run("main", BY_SSH, login="sales-git")
    assert ended.code == 0, ended.text
    assert clone.results()["commit"] == commit
    assert log.with_suffix(".mode").read_text() == "400\n"
    assert log.with_suffix(".key").read_text() == "-----BEGIN\nkey\n-----END\n"
    assert log.with_suffix(".known").read_text().startswith("[git.test]:2222 ssh-ed25519")
    [called] = set(calls(clone.folder, "ssh"))
    assert "BEGIN" not in called
    given = called.split()
    assert given[:2] == ["-F", "none"], "nobody's configuration"
    options = {given[at + 1] for at, word in enumerate(given) if word == "-o"}
    assert {*git_login.SSH_OPTIONS} <= options, "as the manager"
    assert options - {*git_login.SSH_OPTIONS} == {
        f"UserKnownHostsFile={clone.kept}/known_hosts",
        "SendEnv=GIT_PROTOCOL",
    }
    assert given[given.index("-p") + 1] == "2222"


@pytest.mark.parametrize("missing", ["ssh-privatekey", "known_hosts"])
def test_by_ssh_a_secret_that_is_missing_or_lacks_something_is_named(
    clone: Clone, tmp_path: Path, missing: str
) -> None:
    log = stand_in_ssh(clone, tmp_path)
    clone.give(ssh_privatekey="key", known_hosts="host")
    (clone.secret / missing).unlink()
    ended = clone.run("main", BY_SSH, login="sales-git")
    assert ended.code == 1
    assert f"Secret sales-git is missing or has no {missing}" in ended.text
    assert not log.with_suffix(".mode").exists()


def test_by_ssh_what_ssh_says_is_told(clone: Clone, tmp_path: Path) -> None:
    stand_in_ssh(clone, tmp_path).with_suffix(".refuses").touch()
    clone.give(ssh_privatekey="key", known_hosts="host")
    ended = clone.run("main", BY_SSH, login="sales-git")
    assert ended.code == 1
    assert "Permission denied (publickey)" in ended.text
    assert "main could not be fetched from ssh://git@git.test:2222/app.git" in ended.text


def test_a_password_of_its_own_wins_over_the_settings(clone: Clone, tmp_path: Path) -> None:
    repositories, logins = tmp_path / "repositories", tmp_path / "logins"
    for folder in (repositories, logins):
        folder.mkdir()
    inner, app = (Bare(repositories / f"{name}.git") for name in ("inner", "app"))
    inner.commit("main")
    clone.give(username=f"{USER}\n", password=PASSWORD)
    with git_host(repositories) as host:
        other = git_logins.parse(host.address.replace("//", "//somebody:else@"))
        for name, contents in git_logins.render_files(other, str(logins)).items():
            (logins / name).write_text(contents)
        app.commit("main")
        address = host.url("locked/app")
        assert clone.run("main", address, logins).code == 1
        ended = clone.run("main", address, logins, login="sales-git")
        assert ended.code == 0, ended.text
        assert PASSWORD not in ended.text
        assert PASSWORD not in (tmp_path / "run/source/.git/config").read_text()
        (clone.secret / "password").unlink()
        ended = clone.run("main", address, logins, login="sales-git")
    assert "Secret sales-git is missing or has no password" in ended.text


def test_a_password_in_an_address_of_ssh_is_refused(clone: Clone) -> None:
    ended = clone.run("main", "ssh://git:pass@git.test/app", login="sales-git")
    assert (ended.code, ended.text) == (1, "git-clone: REPO holds a password\n")


# -- submodules and large files ----------------------------------------------------------------------

LFS = """
case "$1" in
  pull) for file in $LFS_FILES; do [ -e "$LFS_GONE" ] || echo real > "$file"; done; [ ! -e "$LFS_GONE" ] ;;
  ls-files) for file in $LFS_FILES; do grep -q real "$file" && echo "c0ffee * $file" || echo "c0ffee - $file"; done ;;
esac
"""
"""Stands in for git-lfs, which only the toolbox has: the end-to-end tests fetch with the real one."""


def test_files_in_git_lfs_are_fetched_or_the_run_ends(clone: Clone, tmp_path: Path) -> None:
    """`git lfs` runs the program git-lfs, with its words."""
    stand_in = LFS.replace("$LFS_GONE", str(tmp_path / "lfs-gone")).replace("$LFS_FILES", "model.bin")
    program(clone.folder, "git-lfs", stand_in)
    assert clone.run("main").code == 0
    assert calls(clone.folder, "git-lfs") == [], "it is asked where a file is in LFS, and nowhere else"
    (clone.origin / "model.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (clone.origin / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    clone.commit("With a model")
    ended = clone.run("main")
    assert ended.code == 0, ended.text
    assert (tmp_path / "run/source/model.bin").read_text() == "real\n"
    (tmp_path / "lfs-gone").touch()
    ended = clone.run("main")
    assert ended.code == 1
    assert "files in Git LFS could not be fetched" in ended.text


def test_a_pointer_that_stays_ends_the_run(clone: Clone) -> None:
    program(clone.folder, "git-lfs", 'if [ "$1" = ls-files ]; then echo "c0ffee - model.bin"; fi')
    (clone.origin / ".gitattributes").write_text("*.bin filter=lfs\n")
    clone.commit("With a model")
    ended = clone.run("main")
    assert ended.code == 1
    assert "c0ffee - model.bin" in ended.text


@pytest.mark.parametrize(
    "revision", ["", "-x", "--upload-pack=touch /tmp/x", "a b", "a:b", "+main:main", "^main", "a..b", "x;id", "$(id)~"]
)
def test_odd_revisions_are_refused(clone: Clone, revision: str) -> None:
    ended = clone.run(revision)
    assert ended.code == 1
    assert "REVISION" in ended.text or "could not be fetched" in ended.text
    assert not (clone.tmp_path / "commit").exists()


@pytest.mark.parametrize(
    "repo",
    [
        "",
        "file:///etc",
        "/etc",
        "ext::sh -c id",
        "git@host:app",
        "-x",
        "--upload-pack=id",
        "https://me:pass@git.test/x",
    ],
)
def test_odd_addresses_are_refused(clone: Clone, repo: str) -> None:
    ended = clone.run("main", repo)
    assert ended.code == 1
    assert "REPO" in ended.text
    assert "pass@" not in ended.text


def test_a_revision_that_is_not_there_is_named(clone: Clone) -> None:
    ended = clone.run("nowhere")
    assert ended.code == 1
    assert "nowhere could not be fetched from https://git.test/app.git" in ended.text


# -- build-image -------------------------------------------------------------------------------------


class Build:
    def __init__(self, tmp_path: Path, folder: Path) -> None:
        self.tmp_path, self.folder = tmp_path, folder
        self.source = tmp_path / "run/source"
        (self.source / "sub dir").mkdir(parents=True)
        for name in ("Dockerfile", "sub dir/Other", "main.go"):
            (self.source / name).write_text("FROM scratch\n")
        metadata = json.dumps({"containerimage.digest": DIGEST})
        self.succeed = f"echo '{metadata}' > {tmp_path}/metadata.json\n"
        program(folder, "buildctl", self.succeed)

    def run(self, **environ: str) -> Ended:
        given = {"IMAGE": "r.test:5000/demo/app", "COMMIT": COMMIT, "CONTEXT": ".", "DOCKERFILE": "Dockerfile"}
        given |= {"TARGET": "", "BUILD_ARGS": ""}
        fixed = {
            "BUILDKIT": "tcp://b:1",
            "DIRECTORY": str(self.source),
            "CERTIFICATES": "/certs",
            "RESULT_DIGEST": str(self.tmp_path / "digest"),
        }
        text = script("build-image").replace(TMP, f"{self.tmp_path}/")
        return run("build-image", self.folder, text, **given | fixed | environ)


@pytest.fixture
def build(tmp_path: Path, bin_folder: Path) -> Build:
    return Build(tmp_path, bin_folder)


def test_build_pushes_by_commit_and_results_in_the_digest(build: Build) -> None:
    ended = build.run()
    assert ended.code == 0, ended.text
    assert (build.tmp_path / "digest").read_text() == DIGEST
    [call] = calls(build.folder, "buildctl")
    assert f"--output=type=image,name=r.test:5000/demo/app:{COMMIT},push=true" in call
    assert f"--opt=build-arg:COMMIT={COMMIT}" in call
    assert f"--local=context={build.source} " in call
    assert "--tlscert=/certs/tls.crt" in call


def test_a_stage_and_arguments_are_handed_on(build: Build) -> None:
    """The stand-in of buildctl keeps its arguments as one line: blanks and quotes stay as they are."""
    given = (("APP_ENV", "staging"), ("FLAGS", "-s  -w $HOME 'x' \"y\" 生产&=%"), ("EMPTY", ""))
    assert build.run(TARGET="prod", BUILD_ARGS=urlencode(given, quote_via=quote)).code == 0
    [call] = calls(build.folder, "buildctl")
    assert "--opt=target=prod " in call
    for name, value in given:
        assert f"--opt=build-arg:{name}={value} " in call
    assert build.run().code == 0
    assert "--opt=target" not in calls(build.folder, "buildctl")[1]


@pytest.mark.parametrize("dockerfile", ["Other", "sub dir/Other"])
def test_dockerfile_is_seen_from_context_or_repository(build: Build, dockerfile: str) -> None:
    assert build.run(CONTEXT="sub dir", DOCKERFILE=dockerfile).code == 0
    [call] = calls(build.folder, "buildctl")
    assert "--opt=filename=Other" in call
    assert f"--local=dockerfile={build.source}/sub dir " in call


@pytest.mark.parametrize(
    "environ",
    [
        {"IMAGE": ""},
        {"IMAGE": "app"},
        {"IMAGE": "r.test/app:tag"},
        {"IMAGE": "r.test/app,push=false"},
        {"IMAGE": "r.test/app\nx"},
        {"IMAGE": "-x/app"},
        {"IMAGE": "r.test/App"},
        {"COMMIT": ""},
        {"COMMIT": "main"},
        {"TARGET": "-x"},
        {"TARGET": "a b"},
        {"BUILD_ARGS": "no-name=1"},
        {"BUILD_ARGS": "A=1&B"},
        {"BUILD_ARGS": "A=1%0AB=2"},
        {"BUILD_ARGS": "A=%FF"},
        {"CONTEXT": ".."},
        {"CONTEXT": "../../.."},
        {"CONTEXT": "none"},
        {"CONTEXT": "main.go"},
        {"DOCKERFILE": "../../../../../../../../etc/passwd"},
        {"DOCKERFILE": "sub dir"},
        {"DOCKERFILE": "none"},
        {"CONTEXT": "link"},
        {"DOCKERFILE": "link/hostname"},
    ],
)
def test_what_leads_elsewhere_is_not_built(build: Build, environ: dict[str, str]) -> None:
    (build.source / "link").symlink_to("/etc")
    ended = build.run(**environ)
    assert ended.code == 1
    assert "build-image: " in ended.text
    assert calls(build.folder, "buildctl") == []


def test_a_failed_build_fails_and_leaves_no_digest(build: Build) -> None:
    program(build.folder, "buildctl", "echo main.go:14: undefined >&2; exit 1\n")
    ended = build.run()
    assert ended.code == 1
    assert "main.go:14: undefined" in ended.text
    assert not (build.tmp_path / "digest").exists()


LOST = "error: failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF"


def test_a_build_that_loses_buildkit_is_tried_once_more_and_says_why(build: Build) -> None:
    mark = build.tmp_path / "lost"
    lose = f"if ! [ -e {mark} ]; then touch {mark}; echo '{LOST}' >&2; exit 1; fi\n"
    program(build.folder, "buildctl", lose + build.succeed)
    ended = build.run()
    assert ended.code == 0, ended.text
    assert "BuildKit went away in the middle" in ended.text
    assert "pipeline.builder_gigabytes" in ended.text
    assert (build.tmp_path / "digest").read_text() == DIGEST
    first, second = calls(build.folder, "buildctl")
    assert ("--timeout=30 " in first, "--timeout=120 " in second) == (True, True)


def test_a_build_that_loses_buildkit_twice_fails(build: Build) -> None:
    program(build.folder, "buildctl", f"echo '{LOST}' >&2; exit 1\n")
    ended = build.run()
    assert ended.code == 1
    assert ended.text.splitlines()[-1].endswith("does that, and did so again")
    assert len(calls(build.folder, "buildctl")) == 2


def test_a_build_whose_own_command_says_the_same_is_not_tried_again(build: Build) -> None:
    says = "#9 ERROR: connection refused\nerror: failed to solve: process make did not complete: exit code: 2"
    program(build.folder, "buildctl", f"echo '{says}' >&2; exit 1\n")
    assert build.run().code == 1
    assert len(calls(build.folder, "buildctl")) == 1


BUILDKIT_FAILS = """
cat >&2 <<'END'
#10 0.327 ./main.go:14:2: undefined: fmt.Printn
#10 ERROR: process "/bin/sh -c go build" did not complete successfully: exit code: 1
------
 > [build 5/5] RUN go build:
0.327 ./main.go:14:2: undefined: fmt.Printn
------
Dockerfile:8
--------------------
   8 | >>> RUN go build
--------------------
error: failed to solve: process "/bin/sh -c go build" did not complete successfully: exit code: 1
END
exit 1
"""


def test_a_failed_build_ends_with_what_its_step_said(build: Build) -> None:
    program(build.folder, "buildctl", BUILDKIT_FAILS)
    assert build.run().text.splitlines()[-3:] == [
        "> [build 5/5] RUN go build:",
        "./main.go:14:2: undefined: fmt.Printn",
        "build-image: the build failed",
    ]
