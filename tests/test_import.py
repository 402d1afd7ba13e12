import ast
import subprocess
import sys
from pathlib import Path

import recsys

PUBLIC = {
    "adapt", "AdaptOptions", "ItemRelations", "read_relations",
    "ALS", "AsyncClient", "Augment", "BPR", "EASE", "Catalog", "Client", "CleaningRules", "clean", "IndexSpec",
    "Interactions", "ItemKNN", "ModelConfig", "Objective", "Popularity", "Recipe",
    "RecsysError", "Retriever",
    "Rules", "Training", "Transitions", "TwoTower", "ZeroShot", "compare", "evaluate", "evaluate_frame",
    "import_log", "item_split", "leave_last_out", "load", "open_store", "prepare", "random_split", "read_catalog",
    "read_interactions", "read_sql", "read_user_table", "recommend_to_parquet",
    "PrivacyOptions", "push_to_hub", "from_hub", "drift",
    "UpdateOptions", "update", "rolling_splits", "time_split", "user_split",
}  # fmt: skip


def test_the_public_names_are_frozen() -> None:
    assert set(recsys.__all__) == PUBLIC


def test_every_public_name_loads() -> None:
    assert all(getattr(recsys, name) is not None for name in recsys.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(recsys, "two_towers")


def _loaded_after(statement: str) -> set[str]:
    heavy = "torch", "transformers", "lightning", "faiss", "sentence_transformers", "polars", "pandas", "pyarrow", "fsspec"
    code = f"import sys; {statement}; print(*[m for m in {heavy} if m in sys.modules])"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_recsys_loads_few_modules_and_nothing_heavy() -> None:
    added = _loaded_after("before = len(sys.modules); import recsys; print(len(sys.modules) - before)")
    assert len(added) == 1
    assert int(added.pop()) < 60


def test_data_and_metrics_never_import_torch() -> None:
    modules = (
        "recsys.data.read, recsys.data.split, recsys.data.synthetic.shop, recsys.data.summary, recsys.evaluation.metrics"
    )
    assert _loaded_after(f"import {modules}") == {"polars"}


def test_the_command_line_starts_without_torch() -> None:
    assert "torch" not in _loaded_after("import recsys.cli.parser")


# What runs elsewhere than on Linux, and whatever the locale is.

POSIX_ONLY = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix", "curses", "readline")
SOURCE = Path(recsys.__file__).parent


def test_no_module_of_the_package_needs_what_only_posix_has() -> None:
    """Every import statement of ours: of the standard library's own we cannot take anything away."""
    imports = {
        (file.name, name.partition(".")[0])
        for file in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }
    assert len(imports) > 100
    assert {(file, name) for file, name in imports if name in POSIX_ONLY} == set()


def test_the_package_is_imported_and_writes_where_posix_s_modules_are_missing(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
for name in {[name for name in POSIX_ONLY if name != "posix"]}:
    sys.modules[name] = None
import recsys, recsys.bundle.io, recsys.cli.parser, recsys.core.files, recsys.tuning.search
from pathlib import Path
with recsys.core.files.atomic_folder(Path(sys.argv[1]) / "run") as folder:
    (folder / "a").touch()
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "a").is_file()


def _text_calls_without_an_encoding(source: bytes) -> list[int]:
    """Lines of calls that read or write text in whatever encoding the locale has."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(keyword.arg in ("encoding", None) for keyword in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("read_text", "write_text"):
            found.append(node.lineno)
        elif name in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile", "TextIOWrapper"):
            given = [*node.args, *(one.value for one in node.keywords if one.arg == "mode")]
            modes = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            owner = getattr(node.func.value, "id", "") if isinstance(node.func, ast.Attribute) else ""
            ours = owner in ("os", "gzip") or owner[:1].isupper()  # Image.open, and our classes that open by themselves
            if not ours and not any("b" in mode for mode in modes):
                found.append(node.lineno)
    return found


def test_the_check_of_encodings_finds_what_it_is_for() -> None:
    source = (
        b"f.read_text()\nf.write_text(x)\nopen(f)\nf.open('w')\nf.open('rb')\nopen(f, encoding='a')\nopen(f, mode='ab')\n"
    )
    assert _text_calls_without_an_encoding(source) == [1, 2, 3, 4]


def test_every_text_file_is_read_and_written_in_a_named_encoding() -> None:
    bare = {
        str(file): lines for file in SOURCE.rglob("*.py") if (lines := _text_calls_without_an_encoding(file.read_bytes()))
    }
    assert bare == {}
