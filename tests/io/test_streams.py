# SPDX-License-Identifier: BSD-3-Clause
"""Objects and tables written block by block: the same files, in bounded memory."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from psmlearn.io import GeoJSONWriter, TableWriter, write_geojson, write_table
from psmlearn.measure import nuclei_table


@pytest.fixture(scope="module")
def labels():
    """Rings, and single pixels, in 12 x 12 pixels each; classes 0 to 3."""
    rows, columns = np.mgrid[:12, :12] - 5.5
    distance = np.hypot(rows, columns)
    ids = np.random.default_rng(0).permutation(80).reshape(8, 10) + 1
    plane = np.kron(ids, (distance > 2) & (distance < 5)).astype(np.int32)
    plane[0, 0], plane[60, 80] = 100_000, 100_001
    return np.stack([plane, plane % 4], axis=-1)


def features(path):
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        return json.load(file)["features"]


@pytest.mark.parametrize("name", ["a.geojson", "a.json.gz"])
def test_blocks_hold_what_one_file_holds(name, labels, tmp_path):
    """Each object is written by one of overlapping blocks, where it lies whole."""
    table = nuclei_table(labels)
    whole, blocks = tmp_path / f"whole_{name}", tmp_path / f"blocks_{name}"
    write_geojson(whole, labels, table=table, offset=(7, 1000))
    with GeoJSONWriter(blocks) as writer:
        for left in (0, 36, 72):
            part = labels[:, left : left + 48]
            here = np.unique(part[part[..., 0] > 0][:, 0])
            begin = table["bbox_min_column"]
            end = left + 36 if left < 72 else labels.shape[1]
            own = table["label"][(begin >= left) & (begin < end)]
            assert 0 < len(own) <= len(here)
            rows = np.isin(table["label"], here)
            writer.add(
                part,
                ids=own,
                offset=(7, 1000 + left),
                measurements={key: column[rows] for key, column in table.items()},
            )
        assert writer.n_objects == len(table["label"])

    def by_id(path):
        return sorted(features(path), key=lambda feature: feature["id"])

    assert by_id(blocks) == by_id(whole)
    assert len(features(whole)) == len(table["label"])
    assert sorted(os.listdir(tmp_path)) == sorted([whole.name, blocks.name])


def test_one_block_gives_the_bytes_of_one_image(labels, tmp_path):
    options = {"object_type": "cell", "classes": ["T", "S"], "downsample": 2.0}
    write_geojson(tmp_path / "a.geojson", labels, offset=(1, 2), **options)
    with GeoJSONWriter(tmp_path / "b.geojson", **options) as writer:
        writer.add(labels, offset=(1, 2))
    one, other = ((tmp_path / f"{n}.geojson").read_bytes() for n in "ab")
    assert one == other


def test_classes_may_be_given_by_id(labels, tmp_path):
    with GeoJSONWriter(tmp_path / "a.geojson", classes={7: "Tumor"}) as writer:
        writer.add(labels, ids=[100_000, 100_001], classes={100_001: 7, 100_000: 0})
    one, other = features(tmp_path / "a.geojson")
    assert "classification" not in one["properties"]
    assert other["properties"]["classification"]["name"] == "Tumor"


def test_no_block_and_empty_blocks_make_an_empty_collection(tmp_path):
    for name, n_blocks in (("a", 0), ("b", 2)):
        with GeoJSONWriter(tmp_path / f"{name}.geojson") as writer:
            for _ in range(n_blocks):
                writer.add(np.zeros((5, 5), int), ids=[])
        assert features(tmp_path / f"{name}.geojson") == []


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"ids": [5_000]}, ValueError, "no object of these labels, such as 5000"),
        ({"ids": [0.5]}, TypeError, "whole numbers"),
        ({"classes": [1, 2]}, TypeError, "dict of whole numbers"),
        ({"classes": {1: "T"}}, TypeError, "dict of whole numbers"),
        ({"offset": (0, np.nan)}, ValueError, "offset"),
        ({"measurements": {"label": [5_000]}}, ValueError, "such as 5000"),
    ],
)
def test_bad_blocks_are_told_and_leave_no_file(options, error, told, labels, tmp_path):
    path = tmp_path / "a.geojson"
    path.write_text("old")
    with pytest.raises(error, match=told), GeoJSONWriter(path) as writer:
        writer.add(labels, **options)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.geojson"]


def test_writers_are_used_within_with(labels, tmp_path):
    with pytest.raises(RuntimeError, match=r"within `with GeoJSONWriter"):
        GeoJSONWriter(tmp_path / "a.geojson").add(labels)
    with pytest.raises(RuntimeError, match=r"within `with TableWriter"):
        TableWriter(tmp_path / "a.csv").add({"a": [1]})
    for writer in (GeoJSONWriter(tmp_path / "b.json"), TableWriter(tmp_path / "b.csv")):
        with (
            writer,
            pytest.raises(RuntimeError, match="being written already"),
            writer,
        ):
            pass  # pragma: no cover
        break
    with pytest.raises(FileNotFoundError), TableWriter(tmp_path / "no" / "a.csv"):
        pass  # pragma: no cover


def in_parts(table, bounds):
    for first, last in zip(bounds[:-1], bounds[1:], strict=True):
        yield {name: column[first:last] for name, column in table.items()}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_added_are_the_whole_table(suffix, labels, tmp_path, monkeypatch):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr("psmlearn.io._table_writer._GROUP_SIZE", 30)
    table = nuclei_table(labels)
    table["image"] = np.array([f"=a{n}\r" if n % 2 else "b" for n in table["label"]])
    n_rows = len(table["label"])
    write_table(tmp_path / f"whole{suffix}", table)
    with TableWriter(tmp_path / f"parts{suffix}") as writer:
        for part in in_parts(table, [0, 0, 1, 20, 20, 70, n_rows]):
            writer.add(part)
        assert writer.n_rows == n_rows
    if suffix == ".csv":
        whole, parts = (
            (tmp_path / f"{n}.csv").read_bytes() for n in ("whole", "parts")
        )
        assert whole == parts
        return
    whole, parts = (
        pd.read_parquet(tmp_path / f"{n}.parquet") for n in ("whole", "parts")
    )
    pd.testing.assert_frame_equal(whole, parts)
    from pyarrow import parquet

    file = parquet.ParquetFile(tmp_path / "parts.parquet")
    assert file.num_row_groups == 2
    assert file.schema_arrow.field("area_um2").metadata[b"unit"] == b"um^2"
    file.close()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_without_rows_tell_their_columns(suffix, tmp_path):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"a{suffix}"
    with TableWriter(path) as writer:
        for _ in range(3):
            writer.add({"label": np.zeros(0, int), "area_um2": []})
    read = pd.read_csv if suffix == ".csv" else pd.read_parquet
    assert list(read(path).columns) == ["label", "area_um2"] and not len(read(path))
    with pytest.raises(ValueError, match="nothing was added"), TableWriter(path):
        pass
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (
            {"a": [1], "c": ["x"]},
            r"after 2 rows came the columns a, c; expected .*a, b",
        ),
        ({"b": ["x"], "a": [1]}, "came the columns b, a"),
        ({"a": [1]}, "came the columns a"),
        ({"a": [0.5], "b": ["x"]}, "column 'a' holds floats; expected whole numbers"),
        ({"a": [1], "b": [3]}, "column 'b' holds whole numbers; expected text"),
        ({"a": [1, 2], "b": ["x"]}, "one length"),
    ],
)
def test_other_columns_are_told_and_leave_no_file(suffix, columns, told, tmp_path):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    with (
        pytest.raises(ValueError, match=told),
        TableWriter(tmp_path / f"a{suffix}") as writer,
    ):
        writer.add({"a": [1, 2], "b": ["x", None]})
        writer.add(columns)
    assert not os.listdir(tmp_path)


def test_numbers_that_fit_take_the_type_of_the_first(tmp_path):
    pytest.importorskip("pyarrow")
    with TableWriter(tmp_path / "a.parquet") as writer:
        writer.add({"a": np.array([1], np.int64)})
        writer.add({"a": np.array([2], np.uint8)})
    assert pd.read_parquet(tmp_path / "a.parquet")["a"].tolist() == [1, 2]
    with (
        pytest.raises(ValueError, match="other types"),
        TableWriter(tmp_path / "b.parquet") as writer,
    ):
        writer.add({"a": np.array([1], np.uint8)})
        writer.add({"a": np.array([300])})


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz", "a.csv", "a.parquet"])
def test_memory_does_not_grow_with_the_blocks(name, labels, tmp_path, monkeypatch):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    monkeypatch.setattr("psmlearn.io._table_writer._GROUP_SIZE", 60)
    block = labels[:24, :24]
    table = nuclei_table(labels[:48, :60])
    peaks = []
    for n_blocks in (3, 3, 20):  # the first time modules are loaded
        tracemalloc.start()
        kind = TableWriter if name.endswith(("csv", "parquet")) else GeoJSONWriter
        with kind(tmp_path / name) as writer:
            for number in range(n_blocks):
                if isinstance(writer, TableWriter):
                    writer.add(table)
                else:
                    writer.add(block, offset=(0, 60 * number))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1] + 20_000, peaks
