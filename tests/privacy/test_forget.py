import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.bundle import manifest
from recsys.bundle.without_users import without_users
from recsys.cli.parser import main
from recsys.core.files import sha256_of
from recsys.data.interactions import Interactions
from recsys.errors import DataError, UnsupportedError
from recsys.pipeline import forget
from recsys.pipeline.forget import Places, forget_users
from recsys.serving.retriever import Retriever
from recsys.training.update.joint import joined
from recsys.training.update.run import updated
from recsys.transitions.choose import learn_memory
from tests.privacy.world import ITEMS, USERS, events, naive_traces, name, save_bundle

GONE = [name(number) for number in range(5, 205, 2)]
STAYS = [name(number) for number in range(0, USERS) if name(number) not in GONE]


@pytest.fixture(scope="module")
def log() -> Interactions:
    return Interactions.from_frame(events())


@pytest.fixture(scope="module")
def made(log: Interactions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles of towers alone, of towers beside counts, and of a fast model."""
    folder = tmp_path_factory.mktemp("made")
    small = {"encoder": None, "dim": 8, "heads": 1, "blocks": 1, "max_length": 8}
    save_bundle(folder / "towers", log, transitions="none", **small)
    save_bundle(folder / "fast", log, fast=True, transitions="counts")
    log.save(folder / "store")
    events().write_csv(folder / "log.csv")
    return folder


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "world"))


def answers(folder: Path, users: list[str]) -> pl.DataFrame:
    return recsys.load(folder, device="cpu").recommend(users, k=10)


def likely(retriever: Retriever, log: pl.DataFrame) -> float:
    """The share of users whose first recommendation is one or two steps behind their last item."""
    last = log.group_by("user_id").agg(
        pl.col("item_id").sort_by("timestamp").last().str.slice(5).cast(pl.Int64).alias("at")
    )
    first = retriever.recommend(STAYS, k=1).join(last, on="user_id")
    return float(((first["item_id"].str.slice(5).cast(pl.Int64) - first["at"]) % ITEMS).is_in([1, 2]).mean())  # type: ignore[arg-type]


def test_a_hundred_users_leave_no_trace_in_any_file_and_others_get_the_same_answers_to_the_last_bit(world: Path) -> None:
    bundle, before = world / "towers", answers(world / "towers", STAYS)
    exports = world / "shards"
    recsys.recommend_to_parquet(recsys.load(bundle), exports, k=3, shard_users=100)
    kept = pl.read_parquet(exports / "part-00000.parquet").filter(~pl.col("user_id").is_in(GONE))
    places = [bundle, world / "store", exports, world / "log.csv"]
    assert {"users.parquet", "report.json", "log.csv", "part-00000.parquet"} <= naive_traces(places, GONE)
    digests = {file.name: sha256_of(file) for file in bundle.iterdir()}

    asked = Places(bundle=bundle, store=world / "store", exports=(exports, world / "log.csv"))
    result = forget_users(asked, [*GONE, "nobody"])

    assert naive_traces([*places, result.file], GONE) == set()
    assert not result.searched.traces
    assert result.unknown == ["nobody"]
    assert answers(bundle, STAYS).equals(before)
    same = {file.name for file in bundle.iterdir() if digests[file.name] == sha256_of(file)}
    assert {"towers.safetensors", "item_vectors.npy", "index_rows.safetensors", "items.parquet", "config.json"} <= same
    told = manifest.verify(bundle)
    assert told["data"]["forgotten_since_training"] == len(GONE)
    assert told["data"]["users"] == USERS - len(GONE)
    assert "forgotten since training | 100" in (bundle / "MODEL_CARD.md").read_text()
    shard = pl.read_parquet(exports / "part-00000.parquet")
    assert shard.equals(kept)
    assert (exports / ".part-00000.parquet.sha256").read_text().split()[0] == sha256_of(exports / "part-00000.parquet")


def test_the_receipt_tells_what_was_removed_where_and_names_nobody(world: Path) -> None:
    before = sha256_of(world / "towers" / "manifest.json")
    result = forget_users(Places(bundle=world / "towers", store=world / "store"), GONE, receipt=world / "receipt.json")
    told = json.loads((world / "receipt.json").read_text())
    assert told == json.loads(json.dumps(result.receipt.to_dict()))
    assert told["finished"]
    bundle, store = told["removed"]
    assert (bundle["before"], bundle["after"]) == (before, sha256_of(world / "towers" / "manifest.json"))
    lost = events().filter(pl.col("user_id").is_in(GONE))
    assert bundle["counts"] == {"users": 100, "events": lost.height, "held_out_users": 100}
    assert store["counts"] == {"users": 100, "events": lost.height, "items_of_nobody_else": 0}
    assert "person" not in (world / "receipt.json").read_text().replace("persons", "")


def test_a_store_without_users_is_the_store_of_a_log_without_them(world: Path) -> None:
    with_runs = world / "store"
    more = pl.DataFrame(
        {"user_id": [GONE[0], STAYS[0], "late"], "item_id": ["own", "item-1", "item-2"], "timestamp": [9, 10**6, 3]}
    )
    recsys.import_log(more, with_runs, append=True)
    result = forget_users(Places(store=with_runs), GONE)
    left = pl.concat([events(), more]).filter(~pl.col("user_id").is_in(GONE))
    found, wanted = recsys.open_store(with_runs), Interactions.from_frame(left)
    assert found.frame().sort("user_id", "timestamp").equals(wanted.frame().sort("user_id", "timestamp"))
    assert "own" not in found.items.ids.to_list()  # an item that only they had
    assert result.receipt.removed[0].counts["items_of_nobody_else"] == 1
    recsys.import_log(more.head(2).tail(1), with_runs, append=True)  # it grows on
    assert len(recsys.open_store(with_runs)) == len(found) + 1


def test_a_fast_model_without_users_is_the_one_that_the_others_alone_give(made: Path) -> None:
    """Counts and popularity are counted anew; only the form and the weight were chosen with those who went."""
    bundle = recsys.load(made / "fast", device="cpu").bundle
    found = without_users(bundle, bundle.users.to_rows(GONE))
    assert found.reproduced
    trained = found.bundle.trained_on
    assert trained is not None
    memory, before = found.bundle.corpus.transitions, bundle.corpus.transitions
    assert memory is not None
    assert before is not None
    alone = learn_memory(trained.histories.without_events(), len(bundle.items), before.form, before.weight)
    assert (memory.table != alone.table).nnz == 0
    assert np.array_equal(found.bundle.vectors[:, 0], np.log1p(trained.item_counts.astype(np.float32)))


def test_rows_of_a_count_memory_change_only_where_those_who_went_had_events(log: Interactions, made: Path) -> None:
    bundle = recsys.load(made / "fast", device="cpu").bundle
    one = bundle.users.to_rows([STAYS[0]])
    before, after = bundle.corpus.transitions, without_users(bundle, one).bundle.corpus.transitions
    assert before is not None
    assert after is not None
    touched = bundle.histories[int(one[0])]
    rows, columns = (before.table != after.table).nonzero()
    assert len(rows)
    assert all(row in touched or column in touched for row, column in zip(rows, columns, strict=True))


def test_append_forget_and_fit_again_is_a_fit_without_them_and_an_update_is_as_good(world: Path) -> None:
    whole = events()
    last = pl.col("timestamp") == pl.col("timestamp").max().over("user_id")
    whole.filter(~last).write_csv(world / "first.csv")
    recsys.import_log(world / "first.csv", world / "growing")
    save_bundle(world / "first", recsys.open_store(world / "growing"), fast=True, transitions="counts")
    recsys.import_log(whole.filter(last), world / "growing", append=True)
    forget_users(Places(bundle=world / "first", store=world / "growing"), GONE)
    save_bundle(world / "again", recsys.open_store(world / "growing"), fast=True, transitions="counts")
    left = Interactions.from_frame(whole.filter(~pl.col("user_id").is_in(GONE)))
    save_bundle(world / "alone", left, fast=True, transitions="counts")
    again, alone = (answers(world / one, STAYS[:50]) for one in ("again", "alone"))
    assert np.allclose(again["score"], alone["score"], atol=1e-6)  # items of equal scores stand in other rows
    older = recsys.load(world / "first", device="cpu").bundle
    made = Retriever(updated(older, joined(older, recsys.open_store(world / "growing"))))
    assert made.bundle.data["forgotten_since_training"] == len(GONE)
    assert made.users.find_rows(GONE).max() == -1
    shares = [likely(one, whole) for one in (made, recsys.load(world / "alone", device="cpu"))]
    assert min(shares) > 0.9
    assert abs(shares[0] - shares[1]) < 0.05


def test_who_is_killed_midway_leaves_whole_places_and_a_repetition_completes(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(bundle=world / "towers", store=world / "store")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forget, "forget_in_store", killed)
        with pytest.raises(KeyboardInterrupt):
            forget_users(places, GONE, receipt=world / "one.json")
    assert not json.loads((world / "one.json").read_text())["finished"]
    manifest.verify(world / "towers")
    assert len(recsys.open_store(world / "store").users) == USERS
    old = world / "towers.writing-00000000-999999999-00000000"
    shutil.copytree(world / "towers", old)
    found = forget.search_users(places, GONE)
    assert {Path(one.file).parent.name for one in found.traces} == {"store"}
    result = forget_users(places, GONE)
    assert result.receipt.finished
    assert [one.users for one in result.receipt.removed] == [0, 100]
    assert naive_traces([world / "towers", world / "store"], GONE) == set()


def test_what_cannot_be_forgotten_exactly_or_leaves_nobody_is_refused_and_stays(world: Path, made: Path) -> None:
    before = sha256_of(world / "towers" / "manifest.json")
    with pytest.raises(DataError, match="no user would be left"):
        forget_users(Places(bundle=world / "towers"), [name(number) for number in range(USERS)])
    assert sha256_of(world / "towers" / "manifest.json") == before
    with pytest.raises(UnsupportedError, match="fit again"):
        without_users(replace(recsys.load(made / "fast", device="cpu").bundle, trained=None), np.array([1], dtype=np.int32))


def test_the_command(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, ids = str(world / "towers"), world / "ids.txt"
    ids.write_text("\n".join(GONE))
    assert main(["forget", run, "--users-file", str(ids)]) == 2
    assert "--overwrite replaces RUN" in capsys.readouterr().err
    assert main(["forget", run, "--check", "--users-file", str(ids)]) == 2
    assert "users.parquet" in capsys.readouterr().err
    assert main(["forget", run, "--users-file", str(ids), "--users", "stranger", "--out", str(world / "smaller")]) == 0
    told = capsys.readouterr().out
    assert "found nowhere: 1 of 101 users (stranger)" in told
    assert isinstance(recsys.load(world / "smaller"), Retriever)
    assert main(["forget", str(world / "smaller"), "--check", "--users-file", str(ids), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["traces"] == []
