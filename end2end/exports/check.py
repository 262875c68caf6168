"""Reads exported files as other programs do, and compares them: SHAPE.jsonl, SHAPE.csv, SHAPE.parquet, and packed datasets
in datasets/, all in the folder that is given. Needs pandas and pyarrow; uses `datasets` (Hugging Face) where it is installed.

    python3 end2end/exports/check.py FOLDER
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet

try:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    import datasets
except ImportError:
    datasets = None

TEXT, WHOLE, NUMBER, FLAG = pyarrow.string(), pyarrow.int64(), pyarrow.float64(), pyarrow.bool_()


def turns(who, what):
    return pyarrow.list_(pyarrow.struct([(who, TEXT), (what, TEXT)]))


SOURCE = {"source_row": WHOLE, "source_id": TEXT}
# docs/FORMATS.md, "Exported files", has the same.
SHAPES = {
    "pairs": {
        "url": TEXT,
        "instruction": TEXT,
        "response": TEXT,
        "generated": TEXT,
        "reference": TEXT,
        "decision": TEXT,
        "kept": FLAG,
        "tokens": WHOLE,
        "ended": FLAG,
        "rouge_l": NUMBER,
        "copied_run": WHOLE,
        "coverage": NUMBER,
        "density": NUMBER,
        "tags": pyarrow.list_(TEXT),
        "baseline": TEXT,
        "cycle": NUMBER,
        "pmi": NUMBER,
        "own_rank": WHOLE,
        "note": TEXT,
    },
    "alpaca": {"instruction": TEXT, "input": TEXT, "output": TEXT},
    "sharegpt": {"conversations": turns("from", "value")},
    "messages": {"messages": turns("role", "content")},
    "prompt_completion": {"prompt": TEXT, "completion": TEXT},
    "preference": {"prompt": TEXT, "chosen": TEXT, "rejected": TEXT},
}
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def equal(what, found, expected):
    if found != expected:
        raise SystemExit(f"{what}: found {found!r}, expected {expected!r}")


def jsonl(path):
    lines = path.read_bytes().decode("utf-8").split("\n")
    equal(f"{path.name}: its last line", lines.pop(), "")
    return [json.loads(line) for line in lines]


def same_type(found, expected):
    """Lists count as equal whatever their items are called."""
    if pyarrow.types.is_list(expected):
        return pyarrow.types.is_list(found) and same_type(found.value_type, expected.value_type)
    if pyarrow.types.is_struct(expected):
        pairs = zip(found, expected)
        return len(found) == len(expected) and all(a.name == b.name and same_type(a.type, b.type) for a, b in pairs)
    return found == expected


def check_parquet(path, columns, rows):
    table = pyarrow.parquet.read_table(path)
    equal(f"{path.name}: columns", table.schema.names, list(columns))
    for name, expected in columns.items():
        found = table.schema.field(name).type
        if not same_type(found, expected):
            raise SystemExit(f"{path.name}: {name} is {found}, expected {expected}")
    equal(f"{path.name}: rows", table.to_pylist(), rows)
    equal(f"{path.name}: rows of pandas", len(pandas.read_parquet(path)), len(rows))


def plain(value):
    """A cell's text as the CSV has it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return "'" + value if value.startswith(FORMULA) else value
    return value


def check_csv(path, columns, rows):
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    equal(f"{path.name}: columns", list(frame.columns), list(columns))
    equal(f"{path.name}: rows", len(frame), len(rows))
    for at, row in enumerate(rows):
        for name, expected in columns.items():
            where, cell, value = f"{path.name}: row {at}, {name}", frame[name][at], row[name]
            if value is None or expected == TEXT:
                equal(where, cell, plain(value))
            else:
                # Numbers, flags and lists are written as JSON has them.
                equal(where, json.loads(cell), value)
    typed = pandas.read_csv(path)
    for name, expected in columns.items():
        if expected in (WHOLE, NUMBER) and len(rows):
            kind = typed[name].dtype.kind
            if kind not in "if":
                raise SystemExit(f"{path.name}: pandas reads {name} as {typed[name].dtype}, not as a number")


def check_datasets(path, kind, columns, rows, cache):
    """`datasets` reads the file without being told its columns."""
    loaded = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=cache)
    equal(f"{path.name}: columns in datasets", loaded.column_names, list(columns))
    equal(f"{path.name}: rows in datasets", loaded.num_rows, len(rows))
    if kind != "csv":
        equal(f"{path.name}: rows read by datasets", loaded.to_list(), rows)


def check_folder(folder, columns, rows, cache):
    card = (folder / "README.md").read_text(encoding="utf-8")
    equal(f"{folder.name}: the card's first line", card.split("\n")[0], "---")
    check_parquet(folder / "data/train-00000-of-00001.parquet", columns, rows)
    if datasets:
        from huggingface_hub import DatasetCard

        head = DatasetCard(card).data.to_dict()
        for field in ("pretty_name", "license", "size_categories", "task_categories", "tags", "configs"):
            if not head.get(field):
                raise SystemExit(f"{folder.name}: the card has no {field}")
        loaded = datasets.load_dataset(str(folder), split="train", cache_dir=cache)
        equal(f"{folder.name}: rows in datasets", loaded.to_list(), rows)


def main(folder):
    checked = 0
    with tempfile.TemporaryDirectory() as cache:
        for shape, own in SHAPES.items():
            columns = {**SOURCE, **own}
            rows = jsonl(folder / f"{shape}.jsonl")
            if not rows:
                raise SystemExit(f"{shape}.jsonl has no rows: there is nothing to compare")
            for row in rows:
                equal(f"{shape}.jsonl: columns", list(row), list(columns))
            check_csv(folder / f"{shape}.csv", columns, rows)
            check_parquet(folder / f"{shape}.parquet", columns, rows)
            if datasets:
                for kind, ending in (("json", "jsonl"), ("csv", "csv"), ("parquet", "parquet")):
                    check_datasets(folder / f"{shape}.{ending}", kind, columns, rows, cache)
            # Datasets are for others: they have no notes.
            columns.pop("note", None)
            shown = [{name: row[name] for name in columns} for row in rows]
            found = [path for path in (folder / "datasets").iterdir() if path.name.endswith(f" {shape}")]
            equal(f"datasets of shape {shape}", len(found), 1)
            check_folder(found[0], columns, shown, cache)
            checked += 4
    with_datasets = f"datasets {datasets.__version__}" if datasets else "without datasets"
    print(f"{checked} files are read alike by pandas {pandas.__version__}, pyarrow {pyarrow.__version__}, {with_datasets}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
