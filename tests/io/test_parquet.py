# SPDX-License-Identifier: BSD-3-Clause
"""Tables as Parquet and as CSV, read back by pandas."""

from __future__ import annotations

import builtins
import os

import numpy as np
import pandas as pd
import pytest

from psmlearn.datasets import make_nuclei
from psmlearn.io import write_table
from psmlearn.measure import labelling_index, nuclei_table

pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def table():
    data = make_nuclei(1, (90, 100), n_nuclei=12, stain="ki67", random_state=0)
    return nuclei_table(
        data.masks[0],
        data.images[0],
        stains=("haematoxylin", "dab"),
        probabilities=np.full((90, 100), 0.75, np.float32),
        region=np.ones((90, 100), int),
    )


def test_types_and_values_come_back(tmp_path, table):
    path = tmp_path / "nuclei.parquet"
    write_table(path, table)
    frame = pd.read_parquet(path)
    pd.testing.assert_frame_equal(frame, pd.DataFrame(table))
    assert frame["label"].dtype == np.int64 and frame["area_um2"].dtype == np.float64
    assert os.listdir(tmp_path) == ["nuclei.parquet"]


def test_both_kinds_of_files_hold_the_same(tmp_path, table):
    write_table(tmp_path / "a.parquet", table)
    write_table(tmp_path / "a.csv", table)
    text = pd.read_csv(tmp_path / "a.csv")
    frame = pd.read_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(text, frame, rtol=1e-14)


def test_units_are_told(tmp_path, table):
    write_table(tmp_path / "a.parquet", table)
    told = {
        field.name: (field.metadata or {}).get(b"unit")
        for field in pq.read_schema(tmp_path / "a.parquet")
    }
    assert set(told) == set(table)
    assert told["area_um2"] == b"um^2" and told["major_axis_um"] == b"um"
    assert told["mean_dab_od"] == b"optical density"
    assert told["bbox_min_row"] == told["centroid_column"] == b"pixel"
    without = {name for name, unit in told.items() if unit is None}
    assert without == {
        *("label", "class", "eccentricity", "solidity", "confidence", "region")
    }


def test_text_dates_and_gaps_keep_their_types(tmp_path):
    path = tmp_path / "a.parquet"
    columns = {
        "image": ["=1+1", "b\udcfc.png", "ü\U0001f52c"],
        "score": [1, None, 2.5],
        "flag": np.array([True, False, True]),
        "small": np.array([1, 2, 3], np.uint8),
        "name": np.array(["a", None, "c"], dtype=object),
        "when": np.array(["2026-01-01", "NaT", "2026-01-03"], "datetime64[ms]"),
        "nan": np.array([np.nan, 1, np.inf]),
        4: (1, 2, 3),
    }
    write_table(path, columns)
    frame = pd.read_parquet(path)
    assert list(frame) == [str(name) for name in columns]
    assert frame["image"].tolist() == ["=1+1", "b\\udcfc.png", "ü\U0001f52c"]
    assert frame["score"].tolist()[::2] == [1.0, 2.5] and frame["score"].isna()[1]
    assert frame["flag"].dtype == bool and frame["small"].dtype == np.uint8
    assert frame["name"].isna().tolist() == [False, True, False]
    assert frame["when"].dt.day.tolist()[0] == 1 and frame["when"].isna()[1]
    np.testing.assert_array_equal(frame["nan"], columns["nan"])


def test_empty_tables_keep_their_columns(tmp_path):
    table = nuclei_table(np.zeros((5, 5), int))
    write_table(tmp_path / "a.parquet", table)
    frame = pd.read_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(frame, pd.DataFrame(table))


def test_tables_of_counts_are_written(tmp_path):
    data = make_nuclei(2, (90, 100), n_nuclei=12, stain="ki67", random_state=0)
    table = labelling_index(list(data.masks), min_cells=0).table
    write_table(tmp_path / "a.parquet", table)
    frame = pd.read_parquet(tmp_path / "a.parquet")
    for name, column in table.items():
        assert frame[name].tolist() == pytest.approx(list(column), nan_ok=True)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({}, "columns of one length"),
        ({"a": [1], "b": [1, 2]}, "'b': 2"),
        ({"a": 3}, "'a' has shape \\(\\)"),
        ({"a": np.zeros((2, 2))}, "'a' has shape \\(2, 2\\)"),
        ({"a": ["x", 1]}, "'a' holds int, str"),
        ({"a": [object()]}, "'a' holds object"),
        ({1: [1], "1": [2]}, "different names"),
        ({"a": [1 + 2j]}, "'a' holds complex"),
    ],
)
def test_what_has_no_type_is_told_and_nothing_is_written(tmp_path, columns, told):
    with pytest.raises(ValueError, match=told):
        write_table(tmp_path / "a.parquet", columns)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch, table):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="No space left on device"):
        write_table(path, table)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.parquet"]


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch, table):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install psmlearn\[parquet\]"):
        write_table(tmp_path / "a.parquet", table)
    write_table(tmp_path / "a.csv", table)
    assert os.listdir(tmp_path) == ["a.csv"]
