import argparse
import json
from pathlib import Path

import polars as pl
import pytest

import recsys
from recsys.cli.parser import build_parser, main
from tests.conftest import make_events, make_items

COMMANDS = ["demo", "fit", "tune", "evaluate", "compare", "report", "recommend", "similar", "search", "explain", "index"]
COMMANDS += ["prepare", "import", "inspect", "export-events", "keys", "serve", "completion", "compress", "drift", "export"]
COMMANDS += ["forget", "membership", "pseudonyms", "update", "adapt"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """Log, catalogue and a fitted bundle, made through the command line."""
    folder = tmp_path_factory.mktemp("world")
    make_events().rename({"user_id": "who", "item_id": "what"}).write_csv(folder / "log.csv")
    make_items().write_csv(folder / "items.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_CACHE", str(folder / "cache"))
        assert main([*fit_arguments(folder, tiny_encoder), "--out", str(folder / "run")]) == 0
    return folder


def fit_arguments(folder: Path, encoder: Path) -> list[str]:
    columns = ["--user", "who", "--item", "what", "--catalog", str(folder / "items.csv"), "--catalog-item", "item_id"]
    model = ["--encoder", str(encoder), "--dim", "16", "--max-length", "8"]
    training = ["--epochs", "12", "--batch-tokens", "64", "--learning-rate", "0.01", "--device", "cpu"]
    return ["fit", str(folder / "log.csv"), *columns, *model, *training]


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_fit_says_where_everything_is(world: Path, tiny_encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = answer(capsys, *fit_arguments(world, tiny_encoder), "--out", str(world / "second"), "--json")
    facts = json.loads(out)
    assert code == 0
    assert Path(facts["bundle"], "manifest.json").is_file()
    assert list(Path(facts["logs"]).rglob("events*"))
    assert facts["test"]["users"] == 40
    assert "epoch 1/12" in err


def test_evaluate_prints_a_table_with_its_definition(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, "evaluate", str(world / "run"), "--k", "5", "1")
    assert code == 0
    assert "@1" in out
    assert "@5" in out
    assert "hits / relevant" in out


def test_evaluate_gives_programs_the_same_figures_that_fit_saw(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = answer(capsys, "evaluate", str(world / "run"), "--json")
    manifest = json.loads((world / "run" / "manifest.json").read_text())
    assert json.loads(out)["metrics"] == pytest.approx(manifest["metrics"])


def test_evaluate_judges_a_bundle_by_what_came_later(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = make_events().rename({"user_id": "who", "item_id": "what"})
    more = {"who": ["u0", "u1", "u1", "new", "new2"], "what": ["new0", "new1", "absent", "i3", "i4"]}
    later = pl.DataFrame(more | {"timestamp": [5000, 5001, 5002, 4000, 5003]})
    later = pl.concat([later, pl.DataFrame({"who": ["new"], "what": ["i4"], "timestamp": [5004]})])
    pl.concat([known, later]).write_parquet(world / "later.parquet")
    words = ["evaluate", str(world / "run"), "--log", str(world / "later.parquet"), "--user", "who", "--item", "what"]
    code, out, err = answer(capsys, *words, "--since", "4500", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["protocol"] == "later events, from 1970-01-01 01:15:00 on"
    wanted = {"early_events": 320, "unknown_targets": 1, "unknown_users": 1, "later_users_without_history": 1}
    assert wanted.items() <= found["counts"].items()
    assert "judged by 4 events from 1970-01-01 01:15:00 on: 2 known users, 1 new ones" in err
    assert answer(capsys, *words, "--segments")[0] == 0
    assert "since (--since) is 1970-01-01 00:16:40" in refused(capsys, *words, "--since", "1000")
    assert "--since needs a newer log" in refused(capsys, "evaluate", str(world / "run"), "--since", "4000")


def test_recommend_prints_titles_for_named_users(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, "recommend", str(world / "run"), "--users", "u1", "u2", "--k", "3")
    assert code == 0
    assert "user u2, last: a " in out
    assert out.count(" a ") >= 8


def test_recommend_writes_all_users_to_parquet(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_file = world / "recs.parquet"
    assert answer(capsys, "recommend", str(world / "run"), "--out", str(out_file), "--k", "4")[0] == 0
    assert pl.read_parquet(out_file).shape == (160, 4)


def test_recommend_serves_somebody_new(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = answer(capsys, "recommend", str(world / "run"), "--history", "i3", "i4", "--k", "2", "--json")
    rows = json.loads(out)
    assert [row["rank"] for row in rows] == [1, 2]
    assert rows[0]["item_id"] == "i5"


def test_similar_and_search_print_titles(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "like a red boat (i1)" in answer(capsys, "similar", str(world / "run"), "i1", "--k", "2")[1]
    assert "a blue train" in answer(capsys, "search", str(world / "run"), "a blue train", "--k", "1")[1]


def test_inspect_counts_what_is_in_a_log_and_its_catalogue(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["--user", "who", "--item", "what", "--catalog", str(world / "items.csv"), "--catalog-item", "item_id"]
    _, out, _ = answer(capsys, "inspect", str(world / "log.csv"), *columns, "--json")
    facts = json.loads(out)
    assert (facts["interactions"], facts["users"], facts["catalogue"]["without_interactions"]) == (320, 40, 2)


def test_inspect_describes_a_bundle(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, "inspect", str(world / "run"))
    assert code == 0
    assert "leave-last-out, test" in out


def test_a_recipe_sets_options_and_flags_win(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = world / "recipe.toml"
    recipe.write_text('[model]\nencoder = "none"\ndim = 8\nheads = 1\n[training]\nepochs = 1\n')
    arguments = [str(world / "log.csv"), "--user", "who", "--item", "what", "--recipe", str(recipe), "--dim", "12"]
    assert answer(capsys, "fit", *arguments, "--out", str(world / "by-recipe"))[0] == 0
    model = json.loads((world / "by-recipe" / "config.json").read_text())["model"]
    assert (model["dim"], model["heads"], model["encoder"]) == (12, 1, None)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code, out, err = answer(capsys, *arguments)
    assert code == 2
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("recsys: ")
    assert "Traceback" not in err
    return last


def test_bad_input_is_one_line_that_names_it(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, log = str(world / "run"), str(world / "log.csv")
    assert "nowhere is not a recsys bundle" in refused(capsys, "evaluate", "nowhere")
    assert "unknown user 'nobody'" in refused(capsys, "recommend", run, "--users", "nobody")
    assert "k must be at least 1, not 0" in refused(capsys, "recommend", run, "--users", "u1", "--k", "0")
    assert answer(capsys, "search", run, "car", "--k", "99")[0] == 0  # fewer rows than 99
    assert "need --out FOLDER" in refused(capsys, "recommend", run)
    assert "no column 'user_id'" in refused(capsys, "inspect", log)
    assert "absent.csv does not exist" in refused(capsys, "inspect", str(world / "absent.csv"))


def test_fit_refuses_before_it_trains(world: Path, capsys: pytest.CaptureFixture[str], tiny_encoder: Path) -> None:
    common = fit_arguments(world, tiny_encoder)
    assert "run already exists" in refused(capsys, *common, "--out", str(world / "run"))
    assert "not divisible by heads" in refused(capsys, *common, "--out", str(world / "x"), "--heads", "3")
    assert not (world / "x").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[model]\ndims = 8\n", r"[model] has no option 'dims'"),
        ("[modell]\ndim = 8\n", "unknown table 'modell'"),
        ("[model]\ndim = 'wide'\n", "broken.toml: [model] dim must be of type int, not 'wide'"),
        ("[training]\nepochs = true\n", "broken.toml: [training] epochs must be of type int, not True"),
        ("dim = ", "not valid TOML"),
    ],
)
def test_a_broken_recipe_is_named(world: Path, capsys: pytest.CaptureFixture[str], text: str, says: str) -> None:
    recipe = world / "broken.toml"
    recipe.write_text(text)
    arguments = ["fit", str(world / "log.csv"), "--recipe", str(recipe), "--out", str(world / "y")]
    assert says in refused(capsys, *arguments)


@pytest.mark.parametrize("arguments", [["fly"], ["fit"], ["similar", "run"], ["fit", "x", "--out", "y", "--dim", "wide"]])
def test_misused_words_exit_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("recsys: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args([command, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert f"example:\n  recsys {command} " in text


def test_help_explains_every_option_of_model_and_training(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["fit", "--help"])
    text = capsys.readouterr().out
    assert "probability of dropping an item's id" in " ".join(text.split())
    assert " (default: 128)" in text
    assert " (default: none)" in text
    assert "--word-features {auto,on,off}" in text


def every_command() -> dict[str, argparse.ArgumentParser]:
    subs = next(one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(subs.choices)


def test_the_commands_are_these() -> None:
    assert sorted(every_command()) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_argument_is_left_without_an_explanation(command: str) -> None:
    for action in every_command()[command]._actions:
        said = (action.help or "").split("(default")[0].strip()
        assert len(said) > 5, f"{command} {action.dest}: {action.help!r}"


def test_evaluate_groups_users_by_a_table(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pl.DataFrame({"who": [f"u{i}" for i in range(40)], "team": ["red", "blue"] * 20})
    table.write_csv(world / "users.csv")
    wanted = ["--user-table", str(world / "users.csv"), "--user", "who", "--user-columns", "team"]
    code, out, _ = answer(capsys, "evaluate", str(world / "run"), *wanted, "--segments", "--json")
    cuts = json.loads(out)["segments"]
    assert code == 0
    assert [(row["label"], row["users"]) for row in cuts["team"]] == [("blue", 20), ("red", 20)]
    assert "history length" in cuts
    assert "no column 'squad'" in refused(capsys, "evaluate", str(world / "run"), *wanted[:-1], "squad")


def test_compare_puts_bundles_and_baselines_side_by_side(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, "compare", str(world / "run"), "--baselines", "popularity", "item-knn", "--k", "5", "10")
    assert code == 0
    assert "run over popularity" in out
    assert "Holm" in out
    assert "two models or more" in refused(capsys, "compare", str(world / "run"))


def test_compare_puts_lists_of_other_systems_beside_a_bundle(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = recsys.load(world / "run").holdout
    best = pl.DataFrame({"user_id": split.users.to_ids(split.user_rows), "item_id": split.items.to_ids(split.targets.rows)})
    best.with_columns(rank=pl.lit(1)).write_csv(world / "oracle.csv")
    words = ["compare", str(world / "run"), "--recommendations", str(world / "oracle.csv"), "--k", "5"]
    code, out, _ = answer(capsys, *words, "--baselines", "popularity")
    assert code == 0
    assert "oracle over run" in out
    assert "oracle over popularity" in out
    said = json.loads(answer(capsys, *words, "--json")[1])
    assert (said["models"][0]["model"], said["models"][0]["metrics"]["recall@5"]) == ("oracle", 1.0)
    assert "--truth is for --recommendations without a bundle" in refused(capsys, *words, "--truth", "x.csv")
    assert "--rank is for --recommendations" in refused(capsys, *words[:2], "--baselines", "popularity", "--rank", "r")


def test_fit_puts_a_model_card_and_its_figures_into_the_bundle(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = (world / "run" / "MODEL_CARD.md").read_text()
    figures = json.loads((world / "run" / "report.json").read_text())
    assert "recall@10" in card
    assert "--learning-rate 0.01" in card
    assert figures["headline"]["users"] == 40


def test_report_writes_page_figures_and_card(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = world / "report.html"
    assert answer(capsys, "report", str(world / "run"), "--out", str(out), "--no-baselines")[0] == 0
    assert out.read_text().startswith("<!doctype html>")
    assert json.loads(out.with_suffix(".json").read_text())["models"]
    said = refused(capsys, "report", str(world / "run"), "--out", str(world / "x.pdf"))
    assert "choose a file name that ends in .html" in said


def test_what_cannot_be_written_is_one_line_too(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "/proc/" in refused(capsys, "recommend", str(world / "run"), "--users", "u1", "--out", "/proc/nowhere/x.parquet")


def test_what_is_not_a_bundle_is_refused_before_training(
    world: Path, tiny_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (world / "thesis").mkdir()
    (world / "thesis" / "chapter.txt").write_text("words")
    said = refused(capsys, *fit_arguments(world, tiny_encoder), "--out", str(world / "thesis"), "--overwrite")
    assert "is not a recsys bundle" in said


def test_bundles_of_the_same_name_are_told_apart_by_their_path(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    shutil.copytree(world / "run", world / "copy" / "run")
    code, out, _ = answer(capsys, "compare", str(world / "run"), str(world / "copy" / "run"))
    assert code == 0
    assert str(world / "copy" / "run") in out


def test_inspect_reads_event_types_and_their_weights(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ["view", "buy"] * 160
    make_events().with_columns(did=pl.Series(kinds)).write_csv(world / "typed.csv")
    arguments = ["inspect", str(world / "typed.csv"), "--event", "did"]
    assert json.loads(answer(capsys, *arguments, "--json")[1])["weights"] is False
    _, out, _ = answer(capsys, *arguments, "--event-weights", "view=1", "buy=2.5", "--json")
    assert json.loads(out)["weights"] is True
    assert "no weight for the event type 'view'" in refused(capsys, *arguments, "--event-weights", "buy=2")
    assert "needs event= (--event)" in refused(capsys, *arguments[:2], "--event-weights", "buy=2")
    assert "names an event type twice" in refused(capsys, *arguments, "--event-weights", "buy=2", "buy=3")
    assert "no column 'nope'" in refused(capsys, *arguments[:2], "--event", "nope")


@pytest.mark.parametrize("word", ["buy", "buy=much", "5"])
def test_an_event_weight_that_is_not_written_so_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", "x.csv", "--event", "did", "--event-weights", word])
    assert f"write TYPE=WEIGHT, such as view=1, not {word!r}" in capsys.readouterr().err
