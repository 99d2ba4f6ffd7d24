"""Where things live, and what `down --purge` leaves."""

from __future__ import annotations

from pathlib import Path

from bootstrap.core.paths import Paths


def of(home: Path, name: str = "demo", **environ: str) -> Paths:
    return Paths.of(name, {"HOME": str(home), **environ})


def test_folders_follow_xdg(tmp_path: Path) -> None:
    plain = of(tmp_path)
    assert plain.cache == tmp_path / ".cache/tekton-bootstrap"
    assert plain.env == tmp_path / ".local/state/tekton-bootstrap/environments/demo"
    moved = of(tmp_path, XDG_CACHE_HOME="/big", XDG_STATE_HOME="/state")
    assert (moved.cache, moved.state) == (Path("/big/tekton-bootstrap"), Path("/state/tekton-bootstrap"))


def test_two_states_never_share_an_engine(tmp_path: Path) -> None:
    one, same, other = of(tmp_path), of(tmp_path, "staging"), of(tmp_path / "else")
    assert one.run == same.run
    assert one.run != other.run


def test_other_environments(tmp_path: Path) -> None:
    paths = of(tmp_path)
    assert paths.list_others() == []
    for name in ("demo", "staging", "a"):
        of(tmp_path, name).env.mkdir(parents=True)
    assert paths.list_others() == ["a", "staging"]


def test_purge_deletes_read_only_folders_too(tmp_path: Path) -> None:
    paths = of(tmp_path)
    module = paths.cache / "go/mod/example.com@v1/sub"
    module.mkdir(parents=True)
    (module / "go.mod").touch(mode=0o444)
    (paths.cache / "link").symlink_to("/")
    for folder in (module, module.parent):
        folder.chmod(0o555)
    (paths.state / "locks").mkdir(parents=True)
    paths.purge()
    paths.purge()
    paths.remove_empty()
    paths.remove_empty()
    assert not paths.cache.exists()
    assert not paths.state.exists()
    assert Path("/etc").exists()


def test_tidying_leaves_the_state_of_a_command_that_runs(tmp_path: Path) -> None:
    paths = of(tmp_path)
    lock = paths.state / "locks/other.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    paths.remove_empty()
    assert lock.exists()
