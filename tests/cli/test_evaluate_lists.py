"""``recsys evaluate --recommendations`` judges what other systems wrote, in whatever format."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from recsys.cli.parser import main
from recsys.data.interactions import Interactions

TRUTH = pl.DataFrame({"who": [1, 2, 3], "what": ["b", "d", "a"]})
GOOD = pl.DataFrame({"who": [1, 1, 2, 2, 3], "what": ["b", "a", "d", "c", "a"], "score": [2.0, 1.0, 0.9, 0.8, 0.1]})
POOR = pl.DataFrame({"user_id": ["1", "2", "3"], "item_id": ["a", "b", "c"], "rank": [1, 1, 1]})
LOG = pl.DataFrame({"who": [1, 2, 2], "what": ["c", "a", "b"]})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lists")
    TRUTH.write_csv(folder / "truth.csv")
    LOG.write_ndjson(folder / "log.ndjson")
    GOOD.write_parquet(folder / "good.parquet")
    (folder / "poor").mkdir()
    POOR.write_csv(folder / "poor" / "part-0.csv.gz", compression="gzip")
    pl.DataFrame({"id": list("abcd"), "kind": ["x", "x|y", "y", None]}).write_csv(folder / "items.tsv", separator="\t")
    pl.DataFrame({"who": [1, 2, 3], "team": ["red", "red", "blue"]}).write_csv(folder / "users.csv")
    return folder


def run(capsys: pytest.CaptureFixture[str], files: Path, words: str) -> tuple[int, str, str]:
    code = main(["evaluate", *words.replace("DIR", str(files)).split()])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


JUDGED = "--recommendations DIR/good.parquet --truth DIR/truth.csv --user who --item what --k 1 2"


def test_lists_are_judged_with_history_catalogue_and_groups(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = " --history DIR/log.ndjson --catalog DIR/items.tsv --catalog-item id --category kind --segments"
    code, out, err = run(capsys, files, f"{JUDGED}{more} --user-table DIR/users.csv --user-columns team --json")
    found = json.loads(out)
    assert code == 0
    assert (found["model"], found["users"], found["items"], found["seen_filtered"]) == ("good", 3, 4, True)
    assert (found["metrics"]["recall@1"], found["metrics"]["coverage@2"]) == (1.0, 1.0)
    assert found["counts"]["users_with_fewer_than_k"] == 1
    assert {"history length", "popularity", "kind", "team"} <= set(found["segments"])
    assert [row["label"] for row in found["segments"]["history length"]] == ["0", "1–5"]
    assert "each list is ordered by 'score', the greatest first" in err


def test_several_systems_are_compared(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TRUTH.rename({"who": "user_id", "what": "item_id"}).write_csv(files / "ours.csv")
    GOOD.rename({"who": "user_id", "what": "item_id"}).write_csv(files / "good.csv")
    words = "--recommendations DIR/poor DIR/good.csv --truth DIR/ours.csv"
    code, out, _ = run(capsys, files, f"{words} --metric recall@10")
    assert code == 0
    assert "good over poor: +1.0000" in out
    assert "poor, noted: 3 users got fewer than k items" in out
    LOG.rename({"who": "user_id", "what": "item_id"}).write_csv(files / "before.csv")
    data = json.loads(run(capsys, files, f"{words} --history DIR/before.csv --segments --json")[1])
    assert data["metric"] == "ndcg@10"
    assert [one["model"] for one in data["models"]] == ["good", "poor"]
    assert set(data["segments"]) == {"poor", "good"}
    assert [row["users"] for row in data["segments"]["good"]["history length"]] == [1, 2]


def test_compare_judges_lists_without_a_bundle(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TRUTH.rename({"who": "user_id", "what": "item_id"}).write_csv(files / "ours.csv")
    GOOD.rename({"who": "user_id", "what": "item_id"}).write_csv(files / "good.csv")
    lists = "compare --recommendations DIR/poor DIR/good.csv"
    for words, said in (
        (f"{lists} --truth DIR/ours.csv --metric recall@10", "good over poor: +1.0000"),
        (lists, "needs a bundle, whose held-out events judge the lists, or --truth EVENTS"),
        (f"{lists} --truth DIR/ours.csv --baselines ease", "--baselines needs a bundle"),
        (f"{lists} --truth DIR/ours.csv --keep-seen", "--keep-seen is for a bundle"),
        ("compare --recommendations DIR/poor --truth DIR/ours.csv", "recsys evaluate judges those of one"),
        ("compare --baselines ease als", "compare needs RUN, the folder of a bundle, or --recommendations RECS"),
    ):
        code = main(words.replace("DIR", str(files)).split())
        captured = capsys.readouterr()
        assert (code == 0) is ("over" in said)
        assert said in captured.out + captured.err


def test_lists_may_name_their_columns_otherwise_than_the_logs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--recommendations DIR/poor --truth DIR/truth.csv --user who --item what --k 1"
    code, _, err = run(capsys, files, words)
    assert code == 2
    assert "no column 'who' to read as user_id" in err
    assert "--list-user" in err
    assert run(capsys, files, f"{words} --list-user user_id --list-item item_id")[0] == 0


def test_a_log_may_be_a_store(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, frame in (("past", LOG), ("future", TRUTH)):
        Interactions.from_frame(frame.rename({"who": "user_id", "what": "item_id"})).save(files / name)
    words = "--recommendations DIR/poor --truth DIR/future --history DIR/past --k 1"
    code, out, _ = run(capsys, files, f"{words} --json")
    assert code == 0
    wanted = {"users_without_history": 1, "seen_recommended": 1, "new_targets": 1}
    assert wanted.items() <= json.loads(out)["counts"].items()
    assert "--timestamp says how a log is read, and a store" in run(capsys, files, f"{words} --timestamp when")[2]
    assert "is a store; name it alone" in run(capsys, files, words.replace("DIR/past", "DIR/past DIR/log.ndjson"))[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "evaluate needs RUN, the folder of a bundle, or --recommendations RECS and --truth EVENTS"),
        ("RUN --truth DIR/truth.csv", "--truth is for --recommendations"),
        ("RUN --item what", "--item is for"),
        ("--recommendations DIR/poor", "--recommendations needs --truth EVENTS"),
        ("RUN --recommendations DIR/poor --truth DIR/truth.csv", "either the bundle RUN or the lists"),
        (f"{JUDGED} --keep-seen", "--keep-seen is for a bundle"),
        (f"{JUDGED} --metric ndcg@1", "--metric) is for comparing several systems"),
        (f"{JUDGED} --category kind", "is a column of the catalogue, and none is given"),
        (f"{JUDGED} --score score --rank rank", "either rank= (--rank) or score= (--score)"),
        (f"{JUDGED} --history DIR/truth.csv", "the history holds all 3 pairs of user and item of the truth"),
        ("RUN --allow-leakage", "--allow-leakage is for --recommendations"),
        (f"{JUDGED.replace('good.parquet', 'absent.csv')}", "absent.csv does not exist"),
    ],
)
def test_what_says_nothing_is_refused(files: Path, capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    code, _, err = run(capsys, files, words)
    assert (code, said in err) == (2, True)
