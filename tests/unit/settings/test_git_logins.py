"""Logins for repositories elsewhere: what is accepted, and which of them git itself takes for an address."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from bootstrap.settings import git_logins


def test_several_with_their_places() -> None:
    found = git_logins.parse("https://ada:t0ken@Git.Example.org:8443 http://b%40c:p%2Fw%20d@host/you/app.git/")
    assert [(each.host, each.path, each.username, each.password.reveal()) for each in found] == [
        ("https://git.example.org:8443", "", "ada", "t0ken"),
        ("http://host", "/you/app", "b@c", "p/w d"),
    ]
    assert git_logins.parse("") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://host/you/app", "login 1 is not of the form"),
        ("https://ada@host", "login 1 is not of the form"),
        ("https://:hunter2@host", "login 1 is not of the form"),
        ("ssh://ada:hunter2@host", "login 1 is not of the form"),
        ("https://a:b@host ada:hunter2", "login 2 is not of the form"),
        ("https://ada:hunter2@host:port", "login 1 is not of the form"),
        ("https://ada:hunter2@ho[st", "login 1 is not of the form"),
        ("https://ada:hunter2@host/x?y", "login 1 has an address that is none"),
        ('https://ada:hunter2@host/"]', "login 1 has an address that is none"),
        ('https://ada:hunter2@"host', "login 1 has an address that is none"),
        ("https://ada:hunter2%0Apath=x@host", "login 1 holds a line break"),
        ("https://ada:hunter2@host/x https://bob:hunter3@host/x.git", "login 2 is for the same place as login 1"),
    ],
)
def test_what_is_none_is_said_without_repeating_it(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        git_logins.parse(text)
    assert "hunter" not in str(error.value)


ODD = ("o'b\"`id`", "$(x)\\;# %@/")
USER, PASSWORD = (quote(each, safe="") for each in ODD)
GIVEN = f"https://host:host-pw@git.test https://team:team-pw@git.test/team/app https://{USER}:{PASSWORD}@odd.test"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """As the poller has it: a login of the including configuration first."""
    for name, text in git_logins.render_files(git_logins.parse(GIVEN), str(tmp_path)).items():
        (tmp_path / name).write_text(text)
    earlier = "!f() { printf 'username=earlier\\npassword=earlier-pw\\n'; }; f"
    config = {"credential.https://git.test.helper": earlier, "credential.https://own.test.helper": earlier}
    config["include.path"] = str(tmp_path / git_logins.CONFIG)
    given = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    for number, (key, value) in enumerate(config.items()):
        given |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return given | {"GIT_CONFIG_COUNT": str(len(config))}


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        ("https://git.test/you/app.git", "host", "host-pw"),
        ("https://git.test/team/app.git", "team", "team-pw"),
        ("https://git.test/team/app", "team", "team-pw"),
        ("https://git.test/team/app-2.git", "host", "host-pw"),
        ("https://odd.test/x", *ODD),
        ("https://own.test/x", "earlier", "earlier-pw"),
        ("https://git.test.evil.test/team/app.git", "", ""),
        ("https://git.test:8443/team/app.git", "", ""),
        ("http://git.test/team/app.git", "", ""),
    ],
)
def test_git_takes_the_login_of_the_place(environ: dict[str, str], url: str, username: str, password: str) -> None:
    argv = ["git", "credential", "fill"]
    done = subprocess.run(argv, input=f"url={url}\n\n", env=environ, capture_output=True, text=True, check=False)
    told = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert (told.get("username", ""), told.get("password", "")) == (username, password), done.stderr
