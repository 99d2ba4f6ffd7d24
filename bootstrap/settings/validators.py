"""What a setting may be: each rule turns the text of a layer into a value, or raises InvalidSetting with the cause.

Functions that answer `Any` declare a field of a settings group; the others are rules or make one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bootstrap.core.model import Secret
from bootstrap.settings import git_logins
from bootstrap.settings.strict_yaml import quote

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_REPOSITORY = re.compile(r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")
_HOST = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?")
_FOLDER = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
_FULL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)+")
_REVISION = re.compile(r"[A-Za-z0-9_\x80-\U0010ffff][A-Za-z0-9._/+@\x80-\U0010ffff-]{0,199}")
_BRANCH = re.compile(r"[A-Za-z0-9_*\x80-\U0010ffff][A-Za-z0-9._/+@*\x80-\U0010ffff-]{0,199}")
"""Both with letters of any script; what of those cannot be seen is refused by `str.isprintable`."""
_HOSTED_LENGTH = 40
_USER = re.compile(r"[A-Za-z0-9._@+-]{1,64}")


class InvalidSetting(ValueError):
    """The text does not fit; the message ends the sentence that the name of the setting begins."""


Rule = Callable[[str], Any]
"""Text -> value. Raises Wrong."""


@dataclass(frozen=True)
class Meta:
    """What stands in a field's metadata. doc: the meaning of the setting, in a line."""

    doc: str
    rule: Rule
    secret: bool = False


def _field(default: Any, doc: str, rule: Rule, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"setting": Meta(doc, rule, secret)})


def text(default: str, doc: str, check: Rule | None = None, *, empty: bool = True) -> Any:
    """A text on one line. check: a further rule for what is not empty. empty: whether "" is accepted."""

    def rule(value: str) -> str:
        if not value:
            if not empty:
                raise InvalidSetting("must not be empty")
            return ""
        return str((check or line)(value))

    return _field(default, doc, rule)


def texts(default: tuple[str, ...], doc: str, check: Rule, *, empty: bool = True) -> Any:
    """Texts separated by commas, as a tuple. check: the rule for each. empty: whether there may be none."""

    def rule(value: str) -> tuple[str, ...]:
        found = [each.strip() for each in value.split(",")] if value.strip() else []
        if not found and not empty:
            raise InvalidSetting("must not be empty")
        if "" in found:
            raise InvalidSetting(f"{quote(value)} has nothing beside a comma")
        return tuple(dict.fromkeys(str(check(each)) for each in found))

    return _field(default, doc, rule)


def choice(default: str, doc: str, choices: tuple[str, ...]) -> Any:
    """A setting that is one of `choices`."""
    return _field(default, doc, one_of(*choices))


def one_of(*words: str) -> Rule:
    """One of `words`."""

    def rule(value: str) -> str:
        if value not in words:
            raise InvalidSetting(f"{quote(value)} is not {_join_choices(words)}")
        return value

    return rule


def number(low: int, high: int) -> Rule:
    """A whole number from `low` to `high`, in decimal."""

    def rule(value: str) -> int:
        if not _WHOLE.fullmatch(value):
            raise InvalidSetting(f"{quote(value)} is not a whole number")
        if not low <= int(value) <= high:
            raise InvalidSetting(f"{value} is not between {low} and {high}")
        return int(value)

    return rule


def whole(default: int, doc: str, low: int, high: int) -> Any:
    """A setting that is a whole number from `low` to `high`."""
    return _field(default, doc, number(low, high))


def port(default: int, doc: str) -> Any:
    """A setting that is a TCP port, or 0."""
    return whole(default, doc, 0, 65535)


def secret(doc: str, check: Rule | None = None) -> Any:
    """A setting whose value is never shown. check: a further rule, whose messages may not repeat the value."""

    def rule(value: str) -> Secret:
        if _CONTROL.search(value):
            raise InvalidSetting("holds a line break or another control character")
        return Secret(str(check(value)) if check and value else value)

    return _field(Secret(""), doc, rule, secret=True)


def line(value: str) -> str:
    """A text without line breaks and other control characters. Raises InvalidSetting."""
    if _CONTROL.search(value):
        raise InvalidSetting("holds a line break or another control character")
    return value


def label(limit: int = 63) -> Rule:
    """A name as Kubernetes wants it (RFC 1123 label), of at most `limit` characters."""

    def rule(value: str) -> str:
        if not _LABEL.fullmatch(value):
            raise InvalidSetting(f"{quote(value)} is not a name of lower-case letters, digits and inner hyphens")
        if len(value) > limit:
            raise InvalidSetting(f"{quote(value)} is longer than {limit} characters")
        return value

    return rule


def url(*schemes: str) -> Rule:
    """An address without credentials in it. Messages do not repeat it: it may hold some."""

    def rule(value: str) -> str:
        try:
            parts = urlsplit(line(value))
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidSetting(
                f"is not an address ({error})" if not isinstance(error, InvalidSetting) else str(error)
            ) from None
        if parts.scheme not in schemes or not host or " " in value:
            raise InvalidSetting(f"is not an address like {schemes[-1]}://host/path")
        if parts.username is not None:
            raise InvalidSetting("has credentials in the address; give them as username and password")
        return value

    return rule


def host(value: str) -> str:
    """HOST or HOST:PORT. Raises InvalidSetting."""
    if not _HOST.fullmatch(value):
        raise InvalidSetting(f"{quote(value)} is not HOST or HOST:PORT")
    return value


def address(value: str) -> str:
    """A name or an address of a machine, without a port. Raises InvalidSetting."""
    if not _HOST.fullmatch(value) or (":" in value and not value.endswith("]")):
        raise InvalidSetting(f"{quote(value)} is not a name or an address without a port")
    return value


def folder(value: str) -> str:
    """A path as image references have it, without a host. Raises InvalidSetting."""
    if not _FOLDER.fullmatch(value):
        raise InvalidSetting(f"{quote(value)} is not a path like team/images")
    return value


def stand_in(value: str) -> str:
    """REGISTRY=HOST[:PORT][/FOLDER]: a copy of a public registry. Raises InvalidSetting."""
    public, equals, copy = value.partition("=")
    address, slash, path = copy.partition("/")
    if not equals:
        raise InvalidSetting(f"{quote(value)} is not REGISTRY=HOST[:PORT][/FOLDER]")
    host(public)
    host(address)
    return f"{public}={address}/{folder(path)}" if slash else value


def within(value: str) -> str:
    """A relative path that stays below the repository's folder. Raises InvalidSetting."""
    parts = line(value).split("/")
    if value.startswith(("/", "-")) or ".." in parts:
        raise InvalidSetting(f"{quote(value)} is not a path within the repository")
    return value


def repository(value: str) -> str:
    """A repository of a registry, HOST/PATH without tag and digest. Raises InvalidSetting."""
    if not _REPOSITORY.fullmatch(value):
        raise InvalidSetting(f"{quote(value)} is not HOST/PATH, lower-case, without tag and digest")
    return value


def full_name(value: str) -> str:
    """OWNER/NAME of a repository at a git host. Raises InvalidSetting."""
    if not _FULL_NAME.fullmatch(value):
        raise InvalidSetting(f"{quote(value)} is not OWNER/NAME")
    return value


def revision(value: str) -> str:
    """A branch, tag or commit. Raises InvalidSetting."""
    if not _REVISION.fullmatch(value) or not value.isprintable() or ".." in value:
        raise InvalidSetting(f"{quote(value)} is not a branch, tag or commit")
    return value


def branch(value: str) -> str:
    """A branch, or a pattern with `*`. Raises InvalidSetting."""
    if not _BRANCH.fullmatch(value) or not value.isprintable() or ".." in value or "//" in value:
        raise InvalidSetting(f"{quote(value)} is not a branch, nor a pattern like release/*")
    return value


def source(value: str) -> str:
    """A repository: its address, or OWNER/NAME at its git host. Raises InvalidSetting."""
    return str(url("http", "https")(value)) if "://" in value else full_name(value)


def own_or_url(value: str) -> str:
    """A repository: its address, or a name on the environment's own git server. Raises InvalidSetting."""
    if "/" in value or ":" in value:
        return str(url("http", "https")(value))
    return str(label(_HOSTED_LENGTH)(value))


def logins(value: str) -> str:
    """Logins as bootstrap.settings.git_logins parses them. Raises InvalidSetting."""
    try:
        git_logins.parse(value)
    except ValueError as error:
        raise InvalidSetting(str(error)) from None
    return value


def user(value: str) -> str:
    """A user name for a login. Raises InvalidSetting."""
    if not _USER.fullmatch(value):
        raise InvalidSetting(f"{quote(value)} is not a user name of letters, digits and . _ @ + -")
    return value


def at_most(size: int) -> Rule:
    """The rule for a text of at most `size` bytes of UTF-8."""

    def rule(value: str) -> str:
        if len(value.encode()) > size:
            raise InvalidSetting(f"is longer than {size} bytes")
        return value

    return rule


def _join_choices(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
