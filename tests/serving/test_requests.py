"""Everything that a request can ask for beside users and k: filters, rules, forms, fallbacks, scores."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.cli.parser import main
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.errors import ConfigError, DataError, UnknownIdError
from recsys.serving.retriever import Retriever
from tests.conftest import make_events, make_items


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    rows = pl.int_range(pl.len())
    items = make_items().with_columns(
        (rows * 2).cast(pl.String).alias("price"),
        pl.when(rows % 3 == 0).then(pl.lit("cup")).otherwise(pl.lit("pot")).alias("kind"),
    )
    log = Interactions.from_frame(make_events())
    training = recsys.Training(epochs=6, batch_tokens=64, learning_rate=1e-2, device="cpu")
    options = {"encoder": str(tiny_encoder), "dim": 16, "heads": 2, "max_length": 8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_CACHE", str(tmp_path_factory.mktemp("cache")))
        model = recsys.TwoTower(**options).fit(log, Catalog.from_frame(items, text=["title"]), training=training)
    folder = tmp_path_factory.mktemp("requests") / "run"
    model.retriever().save(folder, metrics={"recall@10": 0.25})
    return folder


@pytest.fixture(scope="module")
def retriever(run: Path) -> Retriever:
    return recsys.load(run)


def prices(retriever: Retriever, frame: pl.DataFrame) -> list[int]:
    rows = retriever.items.to_rows(frame["item_id"])
    return [int(one) for one in retriever.catalog.columns["price"].gather(pl.Series(rows, dtype=pl.UInt32))]


def test_a_predicate_leaves_what_it_holds_for_even_where_numbers_came_as_text(retriever: Retriever) -> None:
    frame = retriever.recommend(["u1", "u2"], k=5, where='kind == "pot" and price < 30')
    assert frame.height == 10
    assert max(prices(retriever, frame)) < 30
    assert all(price // 2 % 3 for price in prices(retriever, frame))


def test_filters_hold_all_at_once(retriever: Retriever) -> None:
    allow = [f"i{n}" for n in range(20)]
    frame = retriever.recommend("u1", k=30, where="price >= 20", eligible=allow, exclude=["i12"])
    seen = set(retriever.history("u1")["item_id"])
    expected = {f"i{n}" for n in range(10, 20)} - {"i12"} - seen
    assert set(frame["item_id"]) == expected


def test_a_predicate_of_polars_is_taken_too(retriever: Retriever) -> None:
    frame = retriever.recommend("u1", k=32, where=pl.col("kind") == "cup", filter_seen=False)
    assert frame.height == retriever.catalog.columns["kind"].eq("cup").sum()


def test_searches_and_similar_items_heed_predicates(retriever: Retriever) -> None:
    for frame, column in (
        (retriever.similar_items("i3", k=5, where="price > 40"), "similar_item_id"),
        (retriever.search("a red thing", k=5, where="price > 40"), "item_id"),
    ):
        assert min(prices(retriever, frame.select(item_id=column))) > 40


@pytest.mark.parametrize(
    ("where", "message"),
    [("colour == 'red'", "colour"), ("__import__('os').system('touch /tmp/x')", "__import__"), ("price <", "price <")],
)
def test_a_predicate_that_cannot_be_read_is_refused(retriever: Retriever, where: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        retriever.recommend("u1", where=where)


def test_arrow_and_lists_say_the_same_as_the_frame(retriever: Retriever) -> None:
    users = ["u3", "u1", "u3"]
    frame = retriever.recommend(users, k=4)
    table, lists = retriever.recommend(users, k=4, output="arrow"), retriever.recommend(users, k=4, output="lists")
    assert pl.DataFrame(pl.from_arrow(table)).equals(frame)
    assert [[row["item_id"] for row in one] for one in lists] == [
        frame["item_id"][start : start + 4].to_list() for start in (0, 4, 8)
    ]
    assert retriever.recommend("u1", exclude=retriever.items.ids, output="lists") == [[]]
    with pytest.raises(ConfigError, match="output must be one of polars, arrow, lists"):
        retriever.recommend("u1", output="pandas")  # type: ignore[arg-type]


def test_cold_users_get_popular_items_only_if_asked_for_and_are_marked(retriever: Retriever) -> None:
    with pytest.raises(UnknownIdError, match="nobody"):
        retriever.recommend(["u1", "nobody"])
    frame = retriever.recommend(["nobody", "u1"], k=3, fallback="popular", exclude="i7")
    counts = np.bincount(retriever.histories.rows, minlength=len(retriever.items))
    counts[retriever.items.to_rows(["i7"])] = -1
    best = retriever.items.to_ids(np.lexsort((np.arange(len(counts)), -counts))[:3].astype(np.int32))
    assert frame["user_id"].to_list() == ["nobody"] * 3 + ["u1"] * 3
    assert frame["source"].to_list() == ["popular"] * 3 + ["model"] * 3
    assert frame["item_id"][:3].to_list() == best.to_list()
    assert frame["score"][:3].to_list() == [float(counts[row]) for row in retriever.items.to_rows(best)]
    assert frame["item_id"][3:].to_list() == retriever.recommend("u1", k=3, exclude="i7")["item_id"].to_list()
    both = retriever.recommend(histories=[[], ["i1", "i2"]], k=2, fallback="popular")
    assert both["source"].to_list() == ["popular", "popular", "model", "model"]
    with pytest.raises(DataError, match="histories are empty"):
        retriever.recommend(histories=[[]])


def test_popular_items_heed_predicates_and_removals(run: Path) -> None:
    retriever = recsys.load(run)
    best = retriever.recommend(histories=[[]], k=1, fallback="popular")["item_id"][0]
    retriever.remove_items(best)
    frame = retriever.recommend(histories=[[]], k=32, fallback="popular", where='kind == "pot"')
    assert best not in frame["item_id"].to_list()
    assert set(retriever.catalog.columns["kind"].gather(pl.Series(retriever.items.to_rows(frame["item_id"])))) == {"pot"}


def test_score_is_what_recommend_says(retriever: Retriever) -> None:
    told = retriever.recommend(["u1", "u2"], k=32, filter_seen=False)
    items = ["i9", "i2", "new0"]
    scored = retriever.score(["u1", "u2"], items)
    assert scored["item_id"].to_list() == items * 2
    joined = scored.join(told, on=["user_id", "item_id"], how="left", maintain_order="left")
    assert joined["score"].to_list() == joined["score_right"].to_list()


def test_similar_users_are_those_with_the_nearest_vectors(retriever: Retriever) -> None:
    vectors = retriever.towers.user_vectors(retriever.histories).numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    row = int(retriever.users.to_rows(["u5"])[0])
    expected = np.delete(np.arange(len(unit)), row)[np.argsort(-np.delete(unit @ unit[row], row), kind="stable")]
    frame = retriever.similar_users("u5", k=3)
    assert frame.columns == ["user_id", "similar_user_id", "score", "rank"]
    np.testing.assert_allclose(frame["score"].to_numpy(), (unit @ unit[row])[expected[:3]], rtol=1e-5)


RULES = {
    "boost": [{"where": 'kind == "cup"', "add": 5.0}],
    "exclude": [{"items": ["i9"]}],
    "cap": [{"column": "kind", "at_most": 2}],
    "pin": [{"item": "new1", "position": 2}],
}


def test_rules_are_kept_and_their_moves_told(retriever: Retriever) -> None:
    rules = recsys.Rules.of(RULES)
    frame = retriever.recommend("u1", k=4, rules=rules)
    kinds = dict(zip(retriever.items.ids, retriever.catalog.columns["kind"], strict=True))
    assert frame["item_id"][1] == "new1"
    assert "i9" not in frame["item_id"].to_list()
    assert max(frame["item_id"].replace_strict(kinds).value_counts()["count"]) <= 2
    moves = retriever.rule_effects("u1", rules=rules, k=4)
    assert set(moves["rule"]) <= {"boost 1", "exclude 1", "cap 1", "pin 1"}
    assert moves.filter(pl.col("item_id") == "new1", pl.col("rule") == "pin 1")["rank_after"].to_list() == [2]


def test_caps_take_from_further_down_rather_than_leave_a_list_short(retriever: Retriever) -> None:
    rules = recsys.Rules.of({"cap": [{"column": "kind", "at_most": 2}], "pool": 4})
    assert retriever.recommend("u1", k=4, rules=rules).height == 4


def test_no_rule_brings_back_what_a_filter_hides(run: Path) -> None:
    retriever, rules = recsys.load(run), recsys.Rules.of({"pin": [{"item": "i28", "position": 1}]})
    assert retriever.recommend("u1", k=3, rules=rules)["item_id"][0] == "i28"
    for hidden in (
        retriever.recommend("u1", k=3, rules=rules, exclude="i28"),
        retriever.recommend("u1", k=3, rules=rules, where="price < 30"),
        retriever.recommend(histories=[["i28", "i29"]], k=3, rules=rules),
    ):
        assert "i28" not in hidden["item_id"].to_list()
    retriever.remove_items("i28")
    assert "i28" not in retriever.recommend("u1", k=3, rules=rules)["item_id"].to_list()


def test_an_explanation_is_what_leaving_an_event_out_does(retriever: Retriever) -> None:
    history = ["i4", "i5", "i6"]
    frame = retriever.explain(history=history, item="i7")
    whole = retriever.score(histories=[history], items=["i7"])["score"][0]
    without = retriever.score(histories=[["i4", "i6"]], items=["i7"])["score"][0]
    told = frame.filter(pl.col("item_id") == "i5")
    assert told["place"].to_list() == [2]
    assert told["contribution"][0] == pytest.approx(whole - without, abs=1e-5)
    assert sum(retriever.score_breakdown(history=history, item="i7").values()) == pytest.approx(whole, abs=1e-4)


def test_many_threads_and_asyncio_get_what_one_gets(retriever: Retriever) -> None:
    users = [f"u{n}" for n in range(24)]
    alone = [retriever.recommend(user, k=5) for user in users]
    with ThreadPoolExecutor(6) as pool:
        threaded = list(pool.map(lambda user: retriever.recommend(user, k=5), users))

    async def gathered() -> list[pl.DataFrame]:
        return await asyncio.gather(*(asyncio.to_thread(retriever.recommend, user, k=5) for user in users))

    for one, two, three in zip(alone, threaded, asyncio.run(gathered()), strict=True):
        assert one.equals(two)
        assert one.equals(three)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_line_filters_ranks_by_rules_and_explains(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = told(capsys, "recommend", str(run), "--users", "u1", "--where", "price < 20", "--k", "3", "--json")
    assert code == 0
    assert len(json.loads(out)) == 3
    (tmp_path / "rules.toml").write_text('[[pin]]\nitem = "new1"\nposition = 1\n')
    code, out, _ = told(capsys, "recommend", str(run), "--users", "u1", "--rules", str(tmp_path / "rules.toml"), "--k", "3")
    assert code == 0
    assert "what the rules changed" in out
    code, out, _ = told(capsys, "recommend", str(run), "--users", "nobody", "--fallback", "popular", "--k", "2")
    assert code == 0
    assert out.count("popular") == 2
    code, out, _ = told(capsys, "explain", str(run), "i7", "--history", "i4", "i5", "i6")
    assert code == 0
    assert "score" in out
    assert "text" in out
    code, _, err = told(capsys, "recommend", str(run), "--users", "u1", "--where", "open('/etc/passwd')")
    assert code == 2
    assert "open" in err


def test_the_command_line_chooses_an_index_and_changes_what_is_on_offer(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    recsys.load(run).save(folder, metrics={"recall@10": 0.25})
    code, out, _ = told(capsys, "index", str(folder), "--recall", "0.9", "--memory", "1GiB")
    assert code == 0
    assert "exact" in out
    page = (tmp_path / "mine-index.html").read_text()
    assert "Recall against time" in page
    assert recsys.load(folder).index.measured[0]["recall"] == 1.0
    make_items(1).tail(1).with_columns(
        pl.lit("late").alias("item_id"), pl.lit("7").alias("price"), pl.lit("cup").alias("kind")
    ).write_csv(tmp_path / "more.csv")
    code, out, _ = told(capsys, "index", str(folder), "--add", str(tmp_path / "more.csv"), "--remove", "i1", "i2")
    assert code == 0
    assert "31 items on offer" in out
    again = recsys.load(folder)
    everything = again.recommend("u1", k=30, filter_seen=False)["item_id"].to_list()
    assert "late" in everything
    assert not {"i1", "i2"} & set(everything)
    assert json.loads((folder / "manifest.json").read_text())["metrics"] == {"recall@10": 0.25}
    for arguments, message in (
        (["--memory", "much"], "'much' is not a valid size"),
        (["--memory", "10"], "no index reaches recall 0.99"),
        (["--remove", "i1"], "removed earlier"),
    ):
        before = (folder / "manifest.json").read_bytes()
        code, _, err = told(capsys, "index", str(folder), *arguments)
        assert code == 2
        assert message in err
        assert (folder / "manifest.json").read_bytes() == before
