"""One meaning of sizes, for every option."""

import pytest

from recsys.cli.checks import index_bounds
from recsys.cli.parser import build_parser
from recsys.core.sizes import bytes_of
from recsys.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4GiB", 2**32), ("512MiB", 2**29), ("1.5 gb", 1_500_000_000), ("1.5GB", 1_500_000_000), ("1000", 1000),
        ("2.kib", 2048), (".5MB", 500_000), ("3 TB ", 3 * 10**12), ("7b", 7),
    ],
)  # fmt: skip
def test_a_size_is_a_number_and_a_unit(text: str, count: int) -> None:
    assert bytes_of(text, "--memory") == count


@pytest.mark.parametrize("text", ["much", "", "2G", "512M", "-1GB", "1.2.3GB", "GB", "1e9", "nan", "1,5GB", "٣GB"])
def test_what_is_no_size_or_could_mean_two_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a valid size; write it like 2GiB"):
        bytes_of(text, "--memory")


def test_import_and_index_take_a_size_alike() -> None:
    imported = build_parser().parse_args(["import", "log.csv", "--out", "s", "--memory", "1.5GB"])
    index = build_parser().parse_args(["index", "run", "--memory", "1.5GB"])
    assert imported.memory == index_bounds(index)["memory_budget"] == 1_500_000_000
