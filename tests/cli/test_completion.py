"""What a shell offers when a key is pressed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from recsys.cli.parser import COMMANDS, build_parser
from tests.cli.test_cli import answer


def script(capsys: pytest.CaptureFixture[str], shell: str) -> str:
    code, out, _ = answer(capsys, "completion", shell)
    assert code == 0
    return out


@pytest.fixture
def offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """What bash offers for words of a command, in a folder that holds the file log.csv."""
    (tmp_path / "log.csv").touch()
    file = tmp_path / ".script"
    file.write_text(script(capsys, "bash"), encoding="utf-8")

    def offer(*words: str) -> set[str]:
        said = 'source .script; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _recsys; printf "%s\\n" "${COMPREPLY[@]}"'
        bash = ["bash", "--norc", "-c", said, "bash", "recsys", *words]
        done = subprocess.run(bash, cwd=tmp_path, capture_output=True, text=True, check=True)
        return set(done.stdout.split()) - {".script"}

    return offer


def test_bash_offers_commands_flags_choices_and_files(offered) -> None:
    assert offered("") == {*COMMANDS, "--help", "--version"}
    assert offered("rec") == {"recommend"}
    assert offered("recommend", "RUN", "--fall") == {"--fallback"}
    assert offered("recommend", "RUN", "--fallback", "") == {"error", "popular"}
    assert offered("fit", "lo") == {"log.csv"}
    assert offered("fit", "--overwrite", "") == {"log.csv"}
    assert offered("fit", "log.csv", "--dim", "") == set()
    assert offered("fit", "--dim", "8", "") == {"log.csv"}
    assert offered("fit", "log.csv", "--catalog", "a.csv", "") == {"log.csv"}
    assert offered("compare", "RUN", "--baselines", "ease", "al") == {"als"}
    assert offered("completion", "") == {"bash", "zsh", "fish"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_knows_every_command_and_flag_and_is_one_that_its_shell_reads(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = script(capsys, shell)
    subs = next(one for one in build_parser()._actions if one.choices)
    for name, parser in dict(subs.choices or {}).items():
        assert name in text
        for flag in parser._option_string_actions:
            assert (f"-l {flag[2:]} " if shell == "fish" and flag.startswith("--") else flag) in text
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")
