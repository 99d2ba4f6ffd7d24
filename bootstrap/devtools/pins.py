"""`invoke pins`: what this checkout pins, beside the newest that can be had from here.

Go modules are asked for at the module proxy, and Python packages at the index, as this machine has them configured.
Images of public hosts are named only: `invoke images --lock` asks those. A version that its authors have retracted, and
a module that is deprecated, are faults. Other advisories are not looked up: that needs a database of the internet.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bootstrap.core.errors import PreconditionError
from bootstrap.supply.compiler import read_pin
from bootstrap.supply.source import Source
from bootstrap.world import World

if TYPE_CHECKING:
    from bootstrap.supply.golang import Go

REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "images/manager/requirements.txt")
LIMIT = 300
"""Seconds for one question to a module proxy or an index of packages."""
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


@dataclass(frozen=True)
class Pin:
    """One pinned thing. newest: "" where nobody could be asked. fault: why the pinned version is not to be used."""

    where: str
    name: str
    pinned: str
    newest: str = ""
    fault: str = ""

    @property
    def state(self) -> str:
        """fault, newer (there is a newer version), ok or unknown."""
        if self.fault:
            return "fault"
        return "unknown" if not self.newest else "ok" if self.newest == self.pinned else "newer"


def pins(world: World, *, as_json: bool = False) -> int:
    """List every pin; 1 if one is at fault. Raises CommandError, PreconditionError."""
    found = list(list_pins(world))
    if as_json:
        world.report.json({"pins": [asdict(pin) | {"state": pin.state} for pin in found]})
    else:
        rows = [[pin.state, pin.name, pin.pinned, _describe(pin), pin.where] for pin in found]
        world.report.table(["", "pinned", "", "newest", "in"], rows)
    return 1 if any(pin.fault for pin in found) else 0


def _describe(pin: Pin) -> str:
    newest = pin.newest if pin.state != "ok" else ""
    return f"{newest}  {pin.fault}".strip() if pin.fault else newest


def list_pins(world: World) -> Iterator[Pin]:
    """All pins, by the file that they stand in. Raises CommandError, PreconditionError."""
    source = world.images
    if not isinstance(source, Source):
        raise PreconditionError("the pins are those of supply source", hint="set `supply: source`")
    go = source.provide_go(lambda _: None)
    for file in sorted((*world.project.glob("images/*/go.mod"), *world.project.glob("demo/*/go.mod"))):
        yield from _list_modules(world, go, file)
    yield from _list_packages(world)
    yield from _list_images(world.project)


def _list_modules(world: World, go: Go, file: Path) -> Iterator[Pin]:
    """What the go.mod asks for itself, and the modules of its tools."""
    program, environ = str(go.toolchain.go), go.make_environment()
    edit = world.shell.run([program, "mod", "edit", "-json"], env=environ, cwd=file.parent, limit=LIMIT).stdout
    names = select_modules(json.loads(edit))
    if names:
        argv = [program, "list", "-e", "-m", "-u", "-retracted", "-json", *names]
        told = world.shell.run(argv, env=environ, cwd=file.parent, limit=LIMIT).stdout
        yield from parse_modules(told, str(file.relative_to(world.project)))


def select_modules(go_mod: dict[str, Any]) -> list[str]:
    """The modules that a go.mod, as `go mod edit -json` prints it, names for its own sake."""
    required = go_mod.get("Require") or []
    tools = [each["Path"] for each in go_mod.get("Tool") or []]
    names = {each["Path"] for each in required if not each.get("Indirect")}
    for tool in tools:
        holders = [each["Path"] for each in required if f"{tool}/".startswith(f"{each['Path']}/")]
        names |= {max(holders, key=len)} if holders else set()
    return sorted(names)


def parse_modules(text: str, where: str) -> Iterator[Pin]:
    """text: what `go list -e -m -u -retracted -json` prints, a document for each module."""
    decoder, rest = json.JSONDecoder(), text.lstrip()
    while rest:
        module, end = decoder.raw_decode(rest)
        rest = rest[end:].lstrip()
        version = module.get("Version", "")
        why = [f"retracted: {each}" for each in module.get("Retracted") or ()]
        why += [f"deprecated: {module['Deprecated']}"] if module.get("Deprecated") else []
        # A proxy that has the pinned version and not the newest cannot tell of either.
        known = "" if module.get("Error") else version
        newest = (module.get("Update") or {}).get("Version", known)
        yield Pin(where, module["Path"], version, newest, "; ".join(why).replace("\n", " "))


def _list_packages(world: World) -> Iterator[Pin]:
    """The requirements, and the Go toolchain that is taken from the same index.

    Of packages that are not installed here, because only another Python needs them, the newest is not known.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    installed = json.loads(world.shell.run([*pip, "list", "--format=json"], limit=LIMIT).stdout)
    outdated = json.loads(world.shell.run([*pip, "list", "--outdated", "--format=json"], limit=LIMIT).stdout)
    newest_of = {_normalize(each["name"]): each["version"] for each in installed}
    newest_of |= {_normalize(each["name"]): each["latest_version"] for each in outdated}
    seen: set[tuple[str, str]] = set()
    for where in REQUIREMENTS:
        for name, version in parse_requirements((world.project / where).read_text()):
            if (name, version) not in seen:
                seen.add((name, version))
                yield Pin(where, name, version, newest_of.get(_normalize(name), ""))
    pin = read_pin(world.project)
    told = world.shell.run([*pip, "index", "versions", pin.package], limit=LIMIT, check=False).stdout
    newest = re.match(r"\S+ \(([^)]+)\)", told)
    yield Pin("images/versions.yaml", pin.package, pin.version, newest[1] if newest else "")


def parse_requirements(text: str) -> list[tuple[str, str]]:
    """(name, version) of each line NAME==VERSION."""
    return _PINNED.findall(text)


def _normalize(name: str) -> str:
    """As PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _list_images(project: Path) -> Sequence[Pin]:
    where = "images/upstream.yaml"
    images: dict[str, str] = yaml.safe_load((project / where).read_text())["images"]
    parts = [reference.rpartition(":") for reference in images.values()]
    return [Pin(where, name, tag) for name, _, tag in parts]
