import hmac
import json
from pathlib import Path

import polars as pl
import pytest

import recsys
from recsys.cli.parser import main
from recsys.core.pseudonym_key import VARIABLE, PseudonymKey, make_key, pseudonyms_of, read_key
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError
from recsys.pipeline.rotate import rotate_bundle, rotate_store
from recsys.server.database import open_database
from recsys.server.events import Event
from recsys.server.store import EventStore
from tests.privacy.world import events, naive_traces, name

ONE = PseudonymKey((bytes(range(32)),))
TWO = PseudonymKey((bytes(range(32)), b"2" * 32))


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "one.key")
    return tmp_path / "one.key"


def test_a_pseudonym_is_the_hmac_of_the_id_and_each_rotation_one_more() -> None:
    once = "p" + hmac.digest(ONE.secrets[0], "Zoë".encode(), "sha256").hex()[:32]
    assert ONE.pseudonym("Zoë") == once
    assert TWO.pseudonym("Zoë") == "p" + hmac.digest(b"2" * 32, once.encode(), "sha256").hex()[:32]
    assert ONE.of([42, "42", 42.0]).n_unique() == 1
    ids = pl.Series(range(1000))
    assert ONE.rotated(ONE.pseudonyms(ids), TWO).equals(TWO.pseudonyms(ids))
    assert ONE.of([once, None]).to_list() == [once, None]  # pseudonyms are taken as they are
    with pytest.raises(DataError, match="written as a pseudonym"):
        pseudonyms_of(pl.Series(["ann", once]), ONE)
    with pytest.raises(ConfigError, match="did not come from"):
        TWO.rotated(ids, ONE)
    assert "secrets" not in repr(ONE)


def test_a_key_is_made_for_its_owner_alone_and_read_from_file_or_environment(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = read_key(key)
    assert made is not None
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="never overwritten"):
        make_key(key)
    newer = make_key(tmp_path / "two.key", made)
    monkeypatch.setenv(VARIABLE, (tmp_path / "two.key").read_text().replace("\n", ","))
    assert read_key() == newer
    with pytest.raises(ConfigError, match=made.id):
        read_key(key)
    monkeypatch.setenv(VARIABLE, "secret-that-is-none")
    with pytest.raises(ConfigError, match="holds no key") as refused:
        read_key()
    assert "secret-that" not in str(refused.value)


def test_a_bundle_fitted_from_the_command_line_holds_pseudonyms_and_is_asked_by_ids(
    key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, run, store = tmp_path / "log.csv", tmp_path / "run", tmp_path / "store"
    events(60).write_csv(log)
    given = ["--pseudonymise", "--pseudonym-key", str(key)]
    assert main(["import", str(log), "--out", str(store), "--pseudonymise"]) == 2
    assert VARIABLE in capsys.readouterr().err
    assert main(["import", str(log), "--out", str(store), *given]) == 0
    assert main(["fit", str(store), "--fast", "--out", str(run)]) == 0
    places = [store, run, *tmp_path.glob("logs")]
    assert naive_traces(places, [name(number) for number in range(60)]) == set()
    capsys.readouterr()

    assert main(["recommend", str(run), "--users", name(3), "--k", "2", "--pseudonym-key", str(key), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["user_id"] for row in rows] == [name(3)] * 2
    made = read_key(key)
    assert made is not None
    assert recsys.load(run).recommend(made.pseudonym(name(3)), k=2)["item_id"].to_list() == [row["item_id"] for row in rows]
    assert main(["recommend", str(run), "--users", name(3)]) == 2
    assert made.id in capsys.readouterr().err

    other = make_key(tmp_path / "other.key")
    with pytest.raises(ConfigError, match=other.id):
        recsys.load(run, pseudonym_key=tmp_path / "other.key")
    more = pl.DataFrame({"user_id": [name(3)], "item_id": ["item-1"], "timestamp": [10**7]})
    with pytest.raises(DataError, match="raw ids"):
        recsys.import_log(more, store, append=True)
    recsys.import_log(more, store, append=True, key=made)
    assert len(recsys.open_store(store).users) == 60

    words = ["--users", name(3), "--overwrite", "--store", str(store), "--pseudonym-key", str(key)]
    assert main(["forget", str(run), *words, "--receipt", str(tmp_path / "receipt.json")]) == 0
    assert json.loads((tmp_path / "receipt.json").read_text())["people"] == [made.pseudonym(name(3))]
    assert naive_traces([run, store], [made.pseudonym(name(3))]) == set()

    newer = make_key(tmp_path / "two.key", made)
    before = recsys.load(run, pseudonym_key=key).recommend(name(4), k=3)
    old = [made.pseudonym(name(number)) for number in range(60)]
    for place in (run, store):
        assert (
            main(["pseudonyms", "rotate", str(place), "--pseudonym-key", str(key), "--to", str(tmp_path / "two.key")]) == 0
        )
    assert naive_traces([run, store], old) == set()
    assert recsys.load(run, pseudonym_key=tmp_path / "two.key").recommend(name(4), k=3).equals(before)
    assert recsys.open_store(store).pseudonym_key == newer.id
    with pytest.raises(ConfigError, match=newer.id):
        rotate_bundle(run, made, newer)
    with pytest.raises(ConfigError, match=newer.id):
        rotate_store(store, made, newer)


def test_appending_pseudonyms_is_importing_all_of_them_at_once(tmp_path: Path) -> None:
    whole = events(20)
    recsys.import_log(whole.head(60), tmp_path / "grown", key=ONE)
    recsys.import_log(whole.tail(-60), tmp_path / "grown", append=True, key=ONE)
    recsys.import_log(whole, tmp_path / "once", key=ONE)
    grown, once = (recsys.open_store(tmp_path / one) for one in ("grown", "once"))
    assert isinstance(grown, Interactions)
    assert grown.frame().equals(once.frame())
    assert once.users.ids.to_list() == ONE.of(whole["user_id"].unique(maintain_order=True)).to_list()


def test_the_database_of_a_server_of_pseudonyms_holds_no_id(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    database = open_database(url)
    store = EventStore(database, key=ONE, pseudonymise=True)
    receipts = store.append([Event("e1", "somebody-1", "i1", 1_700_000_000), Event("e2", " ", "i1", 1_700_000_000)])
    assert [one.result for one in receipts] == ["accepted", "refused"]
    assert store.deltas(["somebody-1", "\ud800"])[0].item_ids == ("i1",)
    assert store.counts("somebody-1").interactions == 1
    store.close()
    with pytest.raises(ConfigError, match="begin a new database"):
        EventStore(database, key=ONE)
    store = EventStore(database, key=ONE, pseudonymise=True)
    assert store.forget("somebody-1").interactions == 1
    assert store.forgotten_at(["somebody-1"]) != [None]
    store.close()
    database.close()
    assert naive_traces([tmp_path], ["somebody-1"]) == set()


def test_evaluate_reads_a_newer_log_under_the_key(key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = events()
    known.write_csv(tmp_path / "log.csv")
    hidden = ["--pseudonymise", "--pseudonym-key", str(key)]
    words = ["fit", str(tmp_path / "log.csv"), *hidden, "--fast", "--split", "none", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    later = known.with_columns(pl.col("timestamp") + 10**8).head(40)
    later.write_csv(tmp_path / "later.csv")
    capsys.readouterr()
    judge = ["evaluate", str(tmp_path / "run"), "--log", str(tmp_path / "later.csv"), "--keep-seen"]
    assert main(judge) == 2
    assert "those of the new log ids; read both in the same way (--pseudonymise)" in capsys.readouterr().err
    assert main([*judge, "--pseudonymise"]) == 2
    assert "--pseudonymise needs a key" in capsys.readouterr().err
    assert main([*judge, *hidden]) == 0
    assert " 0 new ones" in capsys.readouterr().err
