"""Settings: one TOML file, one flag for each key, and nothing that is not understood."""

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from recsys.server.settings import TABLES, Access, Listen, Settings, config_text, is_loopback


def test_the_printed_file_is_read_as_what_was_printed(tmp_path: Path) -> None:
    chosen = Settings.read(None, {"storage": {"db": 'sqlite:///a "b" \\c'}, "access": {"cors_origins": ["http://a"]}})
    for settings in (Settings(), chosen):
        (tmp_path / "serve.toml").write_text(config_text(settings), encoding="utf-8")
        assert Settings.read(tmp_path / "serve.toml") == settings


def test_every_key_is_printed_with_a_comment_a_range_and_its_default() -> None:
    text = config_text()
    found = tomllib.loads(text)
    assert {table: set(keys) for table, keys in found.items()} == {
        table: {one.name for one in fields(owner)} for table, owner in TABLES.items()
    }
    blocks = text.split("\n\n")
    for keys in found.values():
        for key in keys:
            (block,) = [one for one in blocks if one.splitlines()[-1].startswith(f"{key} = ")]
            about = " ".join(line.removeprefix("# ") for line in block.splitlines()[:-1])
            assert " Default: " in about
            assert any(words in about for words in ("From ", "One of ", "true or false", "A text", "A list"))


def test_no_two_tables_have_a_key_of_the_same_name() -> None:
    """Each key is a flag."""
    names = [one.name for owner in TABLES.values() for one in fields(owner)]
    assert len(names) == len(set(names))


def test_what_is_given_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text('[listen]\nport = 9000\nhost = "::1"\n[storage]\nretention_days = 30\n')
    found = Settings.read(tmp_path / "serve.toml", {"listen": {"port": 9001}})
    assert (found.listen.port, found.listen.host, found.storage.retention_days) == (9001, "::1", 30.0)
    assert found.listen.keep_alive_seconds == Listen().keep_alive_seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[listen]\nprot = 1", "[listen] has no key 'prot'; it has .*did you mean 'port'"),
        ("[lisen]\n", "unknown table [lisen]; it has .*did you mean 'listen'"),
        ("listen = 3", "listen must be a table"),
        ("[listen]\nport = 70000", "[listen] port must be from 0 to 65535, not 70000"),
        ("[listen]\nport = true", "[listen] port must be of type int, not True"),
        ("[limits]\nbody_bytes = nan", "body_bytes must be of type int"),
        ("[answering]\ndeadline_milliseconds = nan", "deadline_milliseconds must be from"),
        ('[access]\ncors_origins = ["*"]', "cors_origins must name origins"),
        ("[listen\n", "not valid TOML"),
        ('[logs]\nlog_level = "loud"', "log_level must be one of"),
    ],
)
def test_what_is_not_understood_is_refused_by_file_table_and_key(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "serve.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words.replace("[", r"\[").replace("]", r"\]")) as caught:
        Settings.read(tmp_path / "serve.toml")
    assert "serve.toml" in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
        Settings.read(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.8.8.8", True), ("0.0.0.0", False), ("10.0.0.1", False)],  # noqa: S104
)
def test_an_open_server_listens_on_loopback_alone(host: str, alone: bool) -> None:
    assert is_loopback(host) == alone
    if alone:
        Settings(listen=Listen(host=host), access=Access(open=True))
    else:
        with pytest.raises(ConfigError, match="without a key, and others can reach"):
            Settings(listen=Listen(host=host), access=Access(open=True))
