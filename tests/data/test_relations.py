import polars as pl
import pytest

import recsys
from recsys.data.relations import ItemRelations
from recsys.errors import DataError


def table(**columns: object) -> pl.DataFrame:
    return pl.DataFrame({"item_id": ["i1", "i1", "i2"], "related_item_id": ["i2", "i3", "i1"]} | columns)


def test_relations_and_weights_may_be_left_out() -> None:
    found = ItemRelations.from_frame(table())
    assert found.names == ("related",)
    assert found.frame["weight"].to_list() == [1.0, 1.0, 1.0]


def test_pairs_become_rows_and_unknown_items_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    relation = ["series", "complement", "complement"]
    items = recsys.Interactions.from_frame(pl.DataFrame({"user_id": ["a", "a"], "item_id": ["i2", "i1"]})).items
    with caplog.at_level("INFO", "recsys"):
        rows = ItemRelations.from_frame(table(relation=relation, weight=["2", " 0.5", None])).rows(items)
    assert {name: [one.tolist() for one in pair] for name, pair in rows.items()} == {
        "complement": [[0], [1], [1.0]],
        "series": [[1], [0], [2.0]],
    }
    assert "1 of 3 related pairs" in caplog.text


def test_an_item_itself_and_repeated_rows_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    frame = pl.concat([table(), table(), pl.DataFrame({"item_id": ["i9"], "related_item_id": ["i9"]})])
    with caplog.at_level("INFO", "recsys"):
        assert len(ItemRelations.from_frame(frame)) == 3
    assert "1 rows relate an item to itself, and 3 repeat another" in caplog.text


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (table().drop("related_item_id"), "no column 'related_item_id'"),
        (table(weight=[1.0, -2.0, 1.0]), "the weight in row 2 is -2.0"),
        (table(weight=["1", "1", "much"]), "the weight in row 3 is 'much'"),
        (table(weight=[1.0, float("nan"), float("inf")]), "2 such rows"),
        (table(relation=["a", " ", "b"]), "relation is empty in row 2"),
        (table().with_columns(item_id=pl.Series(["i1", None, "i2"])), "item_id is empty in row 2"),
        (pl.concat([table(weight=[1.0] * 3), table(weight=[2.0] * 3)]), "two weights for 'i1' and 'i2'"),
        (table(related_item_id=["i1", "i1", "i2"]), "relates no item to another one"),
        (table().head(0), "relates no item to another one"),
    ],
)
def test_what_is_no_table_of_relations_is_refused(frame: pl.DataFrame, said: str) -> None:
    with pytest.raises(DataError, match=said):
        ItemRelations.from_frame(frame)


def test_many_relations_are_refused_and_foreign_items_too() -> None:
    many = pl.DataFrame({"item_id": ["a"] * 21, "related_item_id": ["b"] * 21, "relation": [f"r{i}" for i in range(21)]})
    with pytest.raises(DataError, match="20 at most"):
        ItemRelations.from_frame(many)
    items = recsys.Interactions.from_frame(pl.DataFrame({"user_id": ["a"], "item_id": ["other"]})).items
    with pytest.raises(DataError, match="none of the"):
        ItemRelations.from_frame(table()).rows(items)


def test_a_file_is_read_with_its_numbers(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "relations.csv"
    file.write_text("item_id;related_item_id;relation;weight\n1;2;series;0,5\n".replace("0,5", "0.5"))
    found = recsys.read_relations(file)
    assert found.frame.row(0) == ("1", "2", "series", 0.5)
    file.write_text("item,related\n1,2\n")
    with pytest.raises(DataError, match=r"has no column 'item_id'; its columns are item, related"):
        recsys.read_relations(file)
