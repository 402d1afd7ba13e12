"""``recsys completion``: scripts by which bash, zsh and fish complete commands, flags and their values.

They are written from the parser itself, so that they know every flag that it knows; no Python starts when a key is pressed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from recsys.cli.answer import Answer

_FILES: Final = {"FILE", "FOLDER", "LOG", "RUN", "RECS", "PATH", "NEW", "EVENTS", "STORE"}
"""What flags call a file or a folder."""
_PATHS: Final = {"out", "to"}
"""Flags without a name for their value that take a path all the same."""


@dataclass(frozen=True)
class _Flag:
    """One flag, or the words of a command."""

    names: tuple[str, ...]
    said: str
    choices: tuple[str, ...] = ()
    takes_file: bool = False
    takes_value: bool = False
    takes_many: bool = False


@dataclass(frozen=True)
class _Command:
    """A command with its flags; ``words`` says what its positional words are."""

    name: str
    said: str
    flags: tuple[_Flag, ...]
    words: _Flag


def add_flags(parser: argparse.ArgumentParser, whole: argparse.ArgumentParser) -> None:
    """The name of the shell; ``whole`` is the parser of all commands, which the script is made of."""
    parser.add_argument("shell", choices=tuple(_SCRIPTS), help="the shell to print a script for")
    parser.set_defaults(whole=whole)


def completion(arguments: argparse.Namespace) -> Answer:
    """``recsys completion``."""
    script = _SCRIPTS[arguments.shell](_commands(arguments.whole))
    return Answer(script, {"shell": arguments.shell, "script": script})


def _commands(whole: argparse.ArgumentParser) -> list[_Command]:
    subs = next(one for one in whole._actions if isinstance(one, argparse._SubParsersAction))
    said = {one.dest: one.help or "" for one in subs._choices_actions}
    found = []
    for name, parser in subs.choices.items():
        flags = tuple(_flag(one) for one in parser._actions if one.option_strings and one.help != argparse.SUPPRESS)
        words = [_flag(one) for one in parser._actions if not one.option_strings]
        choices = tuple(choice for one in words for choice in one.choices)
        rest = _Flag((), "", choices, takes_file=any(one.takes_file for one in words), takes_value=bool(words))
        found.append(_Command(name, said.get(name, ""), flags, rest))
    return found


def _flag(action: argparse.Action) -> _Flag:
    names = {action.metavar} if isinstance(action.metavar, str) else set(action.metavar or ())
    takes_file = bool(names & _FILES) or action.dest in _PATHS
    choices = () if action.choices is None else tuple(map(str, action.choices))
    said = " ".join((action.help or "").replace("%%", "%").split())
    return _Flag(tuple(action.option_strings), said, choices, takes_file, action.nargs != 0, action.nargs in ("+", "*"))


def _bash(commands: list[_Command]) -> str:
    cases = []
    for one in commands:
        values = [
            f"      {'|'.join(_bash_place(name, flag) for name in flag.names)}) {_bash_values(flag)} ;;"
            for flag in one.flags
            if flag.takes_value
        ]
        flags = " ".join(name for flag in one.flags for name in flag.names)
        lines = ['    case "$flag $((COMP_CWORD - at))" in', *values, f"      *) {_bash_values(one.words)} ;;", "    esac"]
        cases.append("\n".join([f"  {one.name})", f"    flags='{flags}'", *lines, "    ;;"]))
    names = " ".join(one.name for one in commands)
    body = "\n".join(cases)
    return f"""# bash completion of recsys; in ~/.bashrc: eval "$(recsys completion bash)"
_recsys() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} flag='' flags='' choices='' files='' at
  COMPREPLY=()
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=($(compgen -W '{names} --help --version' -- "$current"))
    return
  fi
  for (( at = COMP_CWORD - 1; at > 1; at-- )); do
    if [[ ${{COMP_WORDS[at]}} == --* ]]; then flag=${{COMP_WORDS[at]}}; break; fi
  done
  case ${{COMP_WORDS[1]}} in
{body}
  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
  elif [[ -n $choices ]]; then
    COMPREPLY=($(compgen -W "$choices" -- "$current"))
  elif [[ -n $files ]]; then
    compopt -o filenames 2>/dev/null
    local IFS=$'\\n'
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}}
complete -F _recsys recsys"""


def _bash_place(name: str, flag: _Flag) -> str:
    """The pattern of a flag and how many words ago it was given: the value of a flag that takes one is the next word."""
    return f"'{name} '*" if flag.takes_many else f"'{name} 1'"


def _bash_values(flag: _Flag) -> str:
    return f"choices='{' '.join(flag.choices)}'" if flag.choices else "files=yes" if flag.takes_file else ":"


def _zsh(commands: list[_Command]) -> str:
    cases = []
    for one in commands:
        flags = [f"      {_quoted(_zsh_flag(name, flag))}" for flag in one.flags for name in flag.names]
        words = [f"      {_quoted(f'*:word:{_zsh_values(one.words)}')}"] if one.words.takes_value else []
        cases.append("\n".join([f"    {one.name}) _arguments \\", " \\\n".join([*flags, *words]), "      ;;"]))
    names = "\n".join(f"    {_quoted(f'{one.name}:{one.said}')}" for one in commands)
    body = "\n".join(cases)
    return f"""#compdef recsys
# zsh completion of recsys; in ~/.zshrc, after compinit: eval "$(recsys completion zsh)"
_recsys() {{
  local -a commands
  commands=(
{names}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local name=$words[2]
  shift words
  (( CURRENT-- ))
  case $name in
{body}
  esac
}}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _recsys "$@"; else compdef _recsys recsys; fi"""


def _zsh_flag(name: str, flag: _Flag) -> str:
    said = flag.said.replace("[", "(").replace("]", ")").replace(":", "\\:")
    return f"{name}[{said}]" + (f":value:{_zsh_values(flag)}" if flag.takes_value else "")


def _zsh_values(flag: _Flag) -> str:
    return f"({' '.join(flag.choices)})" if flag.choices else "_files" if flag.takes_file else " "


def _fish(commands: list[_Command]) -> str:
    lines = [
        "# fish completion of recsys: recsys completion fish > ~/.config/fish/completions/recsys.fish",
        "complete -c recsys -f",
        "complete -c recsys -n __fish_use_subcommand -l version -d 'show versions'",
    ]
    for one in commands:
        within = f"complete -c recsys -n '__fish_seen_subcommand_from {one.name}'"
        lines.append(f"complete -c recsys -n __fish_use_subcommand -a {one.name} -d {_quoted(one.said)}")
        if one.words.choices:
            lines.append(f"{within} -a '{' '.join(one.words.choices)}'")
        elif one.words.takes_file:
            lines.append(f"{within} -F")
        for flag in one.flags:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
            values = f" -x -a '{' '.join(flag.choices)}'" if flag.choices else " -r -F" if flag.takes_file else " -x"
            lines.append(f"{within} {names}{values if flag.takes_value else ''} -d {_quoted(flag.said)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


_SCRIPTS: Final[dict[str, Callable[[list[_Command]], str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""Shell → what writes its script."""
