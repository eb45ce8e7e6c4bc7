# SPDX-License-Identifier: BSD-3-Clause
"""The study of the label-free scorers, on a few images made up here."""

from __future__ import annotations

import csv

import numpy as np

from benchmarks.accuracy import scorer_study
from psmlearn.datasets import make_nuclei


def test_settings_are_the_same_at_every_draw():
    settings = scorer_study.draw_settings(0, with_map=True)
    assert settings == scorer_study.draw_settings(0, with_map=True)
    assert settings != scorer_study.draw_settings(1, with_map=True)
    assert [with_map for _, with_map, _ in settings] == [False] * 25 + [True] * 8
    assert settings[0] == ("default", False, {})
    assert settings[:25] == scorer_study.draw_settings(0, with_map=False)


def test_study_writes_tables_and_goes_on_where_it_stopped(monkeypatch, tmp_path):
    data = make_nuclei(2, (96, 96), n_nuclei=8, random_state=0)
    images = [image.astype(np.float32) / 255 for image in data.images]
    monkeypatch.setattr(
        scorer_study, "load_part", lambda *_: (images, list(data.masks), [0.25, 0.25])
    )
    settings = [
        ("default", False, {}),
        ("default", False, {"n_clusters": 3}),
        ("near", False, {"smoothing": 0.75}),
        ("far", False, {"smoothing": 4.0, "instances": False}),
    ]
    monkeypatch.setattr(scorer_study, "draw_settings", lambda *_: settings)
    arguments = ["--data", "none", "--output", str(tmp_path), "--parts", "dev"]
    scorer_study.main(arguments)
    table = (tmp_path / "scorers.md").read_text()
    assert table.startswith("dev: 4 settings, 2 images; AJI of the default 0.")
    with (tmp_path / "scorers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["scorer"] for row in rows] == list(scorer_study.SCORERS)
    assert all(-1 <= float(row["all"]) <= 1 for row in rows)
    # What is done is not done again.
    monkeypatch.setattr(scorer_study, "run_setting", None)
    scorer_study.main(arguments)
    assert (tmp_path / "scorers.md").read_text() == table
