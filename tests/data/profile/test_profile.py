"""The look at a log, against plain loops over its rows."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.cli.parser import main
from recsys.data.catalog import Catalog
from recsys.data.interactions import Interactions
from recsys.data.profile.figures import profile
from recsys.data.profile.page import SECTIONS, log_page
from recsys.data.profile.tail import gini, long_tail

DAY = 86_400
USERS, ITEMS = 30, 40


def events(seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    n = 400
    times = np.sort(draw.integers(0, 90 * DAY, n // 2)).repeat(2)
    return pl.DataFrame({
        "user_id": draw.integers(0, USERS, n), "item_id": (ITEMS * draw.random(n) ** 3).astype(np.int64),
        "timestamp": 1_600_000_000 + times, "weight": draw.integers(1, 6, n).astype(np.float64),
        "event_type": draw.choice(["view", "<b>buy"], n),
    })  # fmt: skip


@pytest.fixture(scope="module")
def log() -> Interactions:
    return Interactions.from_frame(events())


def catalogue(log: Interactions) -> Catalog:
    ids = log.items.ids.to_list()
    counts = log.item_counts.tolist()
    frame = pl.DataFrame({
        "item_id": [*ids[2:], 900, 901], "title": ["a", "a", *[f"t{i}" for i in range(len(ids) - 3)], None],
        "sold": [*[float(one) for one in counts[2:]], 0.0, 0.0], "<i>": ["x"] * len(ids),
    })  # fmt: skip
    return Catalog.from_frame(frame, text=["title"])


def histories(log: Interactions) -> list[list[tuple[int, int]]]:
    """Item and time of each user's events, in order."""
    lists = log.histories
    times = log.timestamps
    assert times is not None
    spans = zip(lists.offsets[:-1], lists.offsets[1:], strict=True)
    return [list(zip(lists.rows[a:b].tolist(), times[a:b].tolist(), strict=True)) for a, b in spans]


def test_figures_are_those_of_plain_loops(log: Interactions) -> None:
    found, told = profile(log), histories(log)
    flat = [event for one in told for event in one]
    counts = Counter(item for item, _ in flat)
    falling = sorted(counts.values(), reverse=True)
    tail = found["long_tail"]
    assert tail["share"][-1] == pytest.approx(1)
    assert tail["top"]["10"] == pytest.approx(sum(falling[:10]) / len(flat))
    assert sum(falling[: tail["items_with_half_of_the_events"]]) >= len(flat) / 2
    assert sum(falling[: tail["items_with_half_of_the_events"] - 1]) < len(flat) / 2
    pairs = [(one[i - 1], one[i]) for one in told for i in range(1, len(one))]
    assert found["ties"]["tied"] == pytest.approx(sum(a[1] == b[1] for a, b in pairs) / len(flat))
    assert found["ties"]["users_with_ties"] == sum(any(a[1] == b[1] for a, b in itertools.pairwise(one)) for one in told)
    ends = [one for one in told if len(one) > 1]
    assert found["ties"]["last_tied"] == pytest.approx(np.mean([one[-1][1] == one[-2][1] for one in ends]))
    assert found["ties"]["same_day"] == pytest.approx(np.mean([one[-1][1] // DAY == one[-2][1] // DAY for one in ends]))
    assert sum(row["events"] for row in found["ties"]["gaps"]) == len(pairs)
    assert found["ties"]["gaps"][4]["events"] == sum(DAY <= b[1] - a[1] < 7 * DAY for a, b in pairs)
    assert found["repeats"]["in_a_row"] == pytest.approx(sum(a[0] == b[0] for a, b in pairs) / len(flat))
    last = found["leave_last_out"]
    train = Counter(item for one in told for item, _ in (one[:-1] if len(one) > 1 else one))
    assert last["targets"] == len(ends)
    assert last["cold"] == pytest.approx(np.mean([train[one[-1][0]] == 0 for one in ends]))
    assert last["seen"] == pytest.approx(np.mean([one[-1][0] in {item for item, _ in one[:-1]} for one in ends]))
    trained = [time for one in told for _, time in (one[:-1] if len(one) > 1 else one)]
    later = [np.mean([time > one[-1][1] for time in trained]) for one in ends]
    assert last["training_later"] == pytest.approx(np.mean(later))


def test_a_cut_in_time_is_that_of_plain_loops(log: Interactions) -> None:
    told = histories(log)
    flat = [(user, item, time) for user, one in enumerate(told) for item, time in one]
    for cut in profile(log)["time_cuts"]:
        at = sorted(time for *_, time in flat)[int(np.ceil(cut["share"] * (len(flat) - 1)))]
        after = [event for event in flat if event[2] >= at]
        before = [event for event in flat if event[2] < at]
        known_users, known_items = {user for user, *_ in before}, {item for _, item, _ in before}
        assert cut["events"] == len(after)
        assert cut["cold_users"] == pytest.approx(np.mean([user not in known_users for user, *_ in after]))
        assert cut["cold_items"] == pytest.approx(np.mean([item not in known_items for _, item, _ in after]))
        assert cut["users_on_both_sides"] == len(known_users & {user for user, *_ in after})
        assert cut["new_items"] == len({item for _, item, _ in after} - known_items)


def test_time_is_covered_and_every_event_counted(log: Interactions) -> None:
    time = profile(log)["time"]
    days = {event[1] // DAY for one in histories(log) for event in one}
    assert time["days"] == max(days) - min(days) + 1
    assert time["empty_days"] == time["days"] - len(days)
    ordered = sorted(days)
    assert time["longest_gap_days"] == max(b - a for a, b in itertools.pairwise(ordered)) - 1
    for counts in (time["bins"]["events"], time["hours"], time["weekdays"], [row["events"] for row in time["periods"]]):
        assert sum(counts) == len(log)
    assert sum(time["bins"]["new_items"]) == len(log.items)
    assert sum(time["bins"]["new_users"]) == len(log.users)
    monday = Interactions.from_frame(pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": ["2024-01-01"]}))
    assert profile(monday)["time"]["weekdays"] == [1, 0, 0, 0, 0, 0, 0]
    assert profile(monday)["time"]["resolution"] == "day"


def test_three_hundred_years_are_few_bins() -> None:
    frame = pl.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "timestamp": [-2_000_000_000, 7_000_000_000]})
    time = profile(Interactions.from_frame(frame, time_unit="s"))["time"]
    assert len(time["bins"]["events"]) <= 801
    assert sum(time["bins"]["events"]) == 2


def test_gini_is_between_equal_and_one() -> None:
    assert gini(np.array([5, 5, 5])) == pytest.approx(0)
    assert gini(np.array([1] * 999 + [10**6])) == pytest.approx(1, abs=0.01)
    assert long_tail(np.array([3]))["items"] == [1]


def test_the_catalogue_is_held_against_the_log(log: Interactions) -> None:
    found = profile(log, catalogue(log))["catalogue_coverage"]
    unknown = log.item_counts[:2].sum()
    assert (found["items"], found["with_events"]) == (len(log.items), len(log.items) - 2)
    assert found["unknown_items_with_events"] == 2
    assert found["events_on_unknown_items"] == pytest.approx(unknown / len(log))
    assert (found["with_text"], found["repeated_texts"]) == (len(log.items) - 1, 1)
    by_name = {one["name"]: one for one in found["columns"]}
    assert by_name["sold"]["with_popularity"] == pytest.approx(1)
    assert by_name["title"]["with_popularity"] is None
    hints = " ".join(profile(log, catalogue(log))["hints"])
    assert "The column 'sold' of the catalogue follows the popularity" in hints
    assert "items that are not in the catalogue" in hints


@pytest.mark.parametrize("without", [(), ("timestamp",), ("weight", "event_type"), ("timestamp", "weight", "event_type")])
def test_what_a_log_lacks_is_said(log: Interactions, without: tuple[str, ...]) -> None:
    bare = Interactions.from_frame(events().drop(without), unordered="timestamp" in without)
    facts = profile(bare, catalogue(log))
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    page = log_page("a <b> log", facts)
    assert "<title>a &lt;b&gt; log</title>" in page
    assert all(f'<section id="{anchor}">' in page for anchor in SECTIONS)
    body = page[: page.index('<script type="application/json"')]
    assert "<b>buy" not in body
    assert "<i>" not in body
    assert ("the log has no times" in body) == ("timestamp" in without)
    assert ("read without them" in body) == ("weight" in without)
    plots = re.findall(r'<div class="plot" id="([^"]+)" role="img" aria-labelledby="([^"]+)"', body)
    specs = json.loads(page.split('id="specs">')[1].split("</script>")[0])
    assert [place for place, _ in plots] == list(specs)
    assert all(f'<figcaption id="{text}">' in body for _, text in plots)
    assert body.count("<details>") >= len(plots)


def test_weights_of_all_kinds(log: Interactions) -> None:
    few = profile(log)["weight_values"]
    assert sum(row["events"] for row in few["bins"]) == len(log)
    frame = events().with_columns(pl.Series("weight", np.random.default_rng(1).lognormal(0, 3, 400) - 0.01))
    many: Any = profile(Interactions.from_frame(frame))
    assert sum(row["events"] for row in many["weight_values"]["bins"]) == len(log)
    assert any("The largest weight" in one for one in many["hints"])


def test_the_command_writes_a_page_beside_its_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events().write_csv(tmp_path / "log.csv")
    page = tmp_path / "look" / "log.html"
    assert main(["inspect", str(tmp_path / "log.csv"), "--page", str(page)]) == 0
    assert f"page: {page}" in capsys.readouterr().out
    assert "default-src 'none'" in page.read_text(encoding="utf-8")
    assert main(["inspect", str(tmp_path / "log.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["long_tail"]["gini"] > 0
    assert main(["inspect", str(tmp_path / "log.csv"), "--page", "log.pdf"]) == 2
    assert "--page log.pdf must end in .html" in capsys.readouterr().err
