"""The words of a command line, and all that is wrong with them at once.

invoke's parser ends with the first word that it does not know, and with code 1; a number that is none is a traceback.
Here that parser is asked again and again, each time without the word that it stumbled over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bootstrap.core.errors import Fault
from bootstrap.core.text import suggest_word
from bootstrap.settings.strict_yaml import quote
from bootstrap.settings.validators import InvalidSetting, number

Context = Any
"""invoke's ParserContext: the flags that one command, or invoke itself, understands, and their values."""
Parse = Callable[[list[str]], list[Context]]
"""Words in; the contexts found, invoke's own first, then one per command."""
APP = "--app"
PLACEHOLDER = "?"
"""Stands in for a word that is missing, so that those after it can be read."""


def read(
    core: Any,
    contexts: Sequence[Context],
    parse: Parse,
    refusal: type[Exception],
    ranges: Mapping[str, tuple[int, int]],
) -> tuple[list[Context], list[Fault]]:
    """The commands that the words ask for, with the values of their flags, and every fault.

    core: what invoke has read for itself so far: one context, and in `unparsed` the words that are left.
    contexts: of invoke itself, then of every command; their numbers are read here. refusal: what `parse` raises.
    ranges: lowest and highest number of each flag that takes one, without the dashes.
    """
    for context in contexts:
        for argument in context.args.values():
            if argument.kind is int:
                argument.kind = str
    commands = [context.name for context in contexts if context.name]
    left, faults = list[str](core.unparsed), list[Fault]()
    while True:
        try:
            found = parse(left)
        except refusal as error:
            faults.append(_find_fault(left, error, commands, parse, refusal))
        else:
            break
    for context in found:
        faults += _convert_numbers(context, ranges)
    return [context for context in found if context.name], faults + _check_topics((core[0], found[0]), commands)


def _find_fault(
    words: list[str], error: Exception, commands: Sequence[str], parse: Parse, refusal: type[Exception]
) -> Fault:
    """What is wrong with the first word that the parser refuses; corrects `words` so that it gets further."""
    context: Context = getattr(error, "context", None)
    known = context.flags if context else {}
    if context and context.missing_positional_args and "positional" in str(error):
        [missing, *_] = context.missing_positional_args
        words.insert(len(words) - words[::-1].index(context.name), PLACEHOLDER)
        return Fault(f"invoke {context.name}", 0, f"{missing.name.upper()} is missing: {missing.help}")
    at = _find_position(words, str(error), parse, refusal)
    word, before = words[at], words[at - 1] if at else ""
    flag, equals, _ = word.partition("=")
    del words[at]
    if word in known:
        return Fault(word, 0, "a value is expected")
    if flag in known:
        return Fault(flag, 0, "given twice" if known[flag].takes_value else "takes no value")
    if word.startswith("-"):
        if not equals and at < len(words) and not words[at].startswith("-") and words[at] not in commands:
            del words[at]  # its value, most likely
        owner = f"invoke {context.name}" if context and context.name else "invoke"
        names = [each.lstrip("-") for each in known]
        return Fault(flag, 0, f"{owner} has no such flag{suggest_word(flag.lstrip('-'), names, mark='--')}")
    if before in known and known[before].takes_value:
        return Fault(before, 0, "given twice")
    close = suggest_word(word, commands)
    if not close and context and before == context.name and APP in known:
        close = f"; did you mean {APP} {word}?"  # invoke knows no word that may be left out but a flag
    return Fault(word, 0, f"there is no such command{close}")


def _find_position(words: Sequence[str], message: str, parse: Parse, refusal: type[Exception]) -> int:
    """The position of the word at which the parser fails with this message, whatever follows."""

    def stumbles(length: int) -> bool:
        try:
            parse(list(words[:length]))
        except refusal as error:
            return str(error) == message
        return False

    found = [stumbles(length) for length in range(1, len(words) + 1)]
    return next(at for at in range(len(words)) if all(found[at : at + 2]))


def _convert_numbers(context: Context, ranges: Mapping[str, tuple[int, int]]) -> list[Fault]:
    """Convert the numbers that were typed; answers the faults."""
    faults = []
    for argument in {id(each): each for each in context.args.values()}.values():
        bounds = ranges.get(argument.names[0])
        if bounds and argument.got_value:
            try:
                argument.set_value(number(*bounds)(argument.value), cast=False)
            except InvalidSetting as wrong:
                faults.append(Fault(f"--{argument.names[0]}", 0, str(wrong)))
    return faults


def _check_topics(own: Sequence[Context], commands: Sequence[str]) -> list[Fault]:
    """The faults of what --help and --list are asked about: --list knows no parts."""
    topics = {context.args["help"].value for context in own} - {*commands, None, True}
    groups = {context.args["list"].value for context in own} - {None, True}
    unknown = [Fault(word, 0, f"there is no such command{suggest_word(word, commands)}") for word in sorted(topics)]
    return unknown + [Fault("--list", 0, f"{quote(word)} is no group of commands") for word in sorted(groups)]
