import subprocess
import sys

import recsys

PUBLIC = {
    "ALS", "Augment", "BPR", "EASE", "Catalog", "IndexSpec",
    "Interactions", "ItemKNN", "Objective", "Popularity", "Recipe",
    "RecsysError", "Retriever",
    "Rules", "Training", "TwoTower", "ZeroShot", "compare", "evaluate", "item_split", "leave_last_out",
    "load", "read_catalog", "read_interactions", "read_user_table", "recommend_to_parquet",
    "rolling_splits", "time_split", "user_split",
}  # fmt: skip


def test_the_public_names_are_frozen() -> None:
    assert set(recsys.__all__) == PUBLIC


def test_every_public_name_loads() -> None:
    assert all(getattr(recsys, name) is not None for name in recsys.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(recsys, "two_towers")


def _loaded_after(statement: str) -> set[str]:
    heavy = "torch", "transformers", "lightning", "faiss", "sentence_transformers", "polars"
    code = f"import sys; {statement}; print(*[m for m in {heavy} if m in sys.modules])"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_recsys_loads_nothing_heavy() -> None:
    assert _loaded_after("import recsys") == set()


def test_importing_recsys_loads_few_modules() -> None:
    code = "import sys; before = len(sys.modules); import recsys; print(len(sys.modules) - before)"
    added = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(added) < 60


def test_data_and_metrics_never_import_torch() -> None:
    modules = "recsys.data.read, recsys.data.split, recsys.data.shop, recsys.data.summary, recsys.evaluation.metrics"
    assert _loaded_after(f"import {modules}") == {"polars"}


def test_the_command_line_starts_without_torch() -> None:
    assert "torch" not in _loaded_after("import recsys.cli")
