# SPDX-License-Identifier: BSD-3-Clause
"""Positive and negative nuclei in the benchmark: scores, tables and what is kept."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import disk
from skimage.io import imsave

from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import (
    datasets,
    figures_ki67,
    ki67,
    quick,
    report,
    report_ki67,
    rows_ki67,
    runner,
    tuning,
)
from psmlearn.metrics import (
    count_error,
    detection_f1_score,
    detection_precision_score,
    detection_recall_score,
)

BROWN, BLUE, GLASS = (120, 70, 40), (110, 130, 190), (240, 240, 242)


def draw_field(seed, n_positive=4, n_negative=6, size=96):
    """Draw brown and blue discs on glass: image, mask with classes, points."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), GLASS, np.uint8)
    mask = np.zeros((size, size, 2), np.int32)
    steps = np.arange(12, size - 8, 18)
    cells = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    cells = rng.permutation(cells)[: n_positive + n_negative]
    for number, centre in enumerate(cells):
        pixels = disk(centre, 6.5, shape=(size, size))
        image[pixels] = BROWN if number < n_positive else BLUE
        mask[pixels] = number + 1, 1 if number < n_positive else 2
    classes = np.where(np.arange(len(cells)) < n_positive, 1, 2)
    noise = rng.normal(0, 2, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image, mask, np.column_stack([cells, classes]).astype(float)


def make_dataset(n_images=3, regions=None, **options):
    images, masks, points = zip(
        *(draw_field(seed, **options) for seed in range(n_images)), strict=True
    )
    names = [f"field-{i}" for i in range(n_images)]
    return datasets.DataSet(
        "ki67-glioma",
        list(images),
        list(masks),
        names,
        np.array(names),
        [0.4] * n_images,
        kind="ki67",
        points=list(points),
        regions=regions,
    )


def draw_points(rng, n_points, size=60):
    places = rng.uniform(0, size - 1, (n_points, 2))
    return np.column_stack([places, rng.integers(1, 3, n_points)])


@given(seed=st.integers(0, 2**32 - 1))
def test_pooled_scores_are_those_of_the_metrics(seed):
    rng = np.random.default_rng(seed)
    true, pred = ([draw_points(rng, rng.integers(0, 40)) for _ in "abc"] for _ in "xy")
    regions = [rng.random((60, 60)) > 0.3, np.ones((60, 60), bool), np.eye(60) > 0]
    data = datasets.DataSet(
        "x", [], [], [], np.array([]), [], "ki67", points=true, regions=regions
    )
    counts = ki67.count_images(data, pred)
    options = {"radius": list(ki67.RADII), "labels": [1, 2], "regions": regions}
    scores = (
        detection_precision_score,
        detection_recall_score,
        detection_f1_score,
    )
    for own, score in zip(ki67.pooled(counts.sum(axis=0)), scores, strict=True):
        np.testing.assert_allclose(own, score(true, pred, average="micro", **options))
    of_images = detection_f1_score(true, pred, average=None, **options)
    np.testing.assert_allclose(ki67.pooled(counts)[2], of_images)
    summary = ki67.summarise(counts)
    errors = count_error(true, pred, labels=[1, 2], regions=regions)
    np.testing.assert_allclose([summary["mp"], summary["mn"]], errors)
    assert summary["ma"] == pytest.approx(np.mean(errors))


def test_masks_become_points_of_their_objects():
    _, mask, points = draw_field(0)
    found = ki67.as_points(mask)
    np.testing.assert_allclose(found, points, atol=1e-9)
    assert ki67.as_points(np.zeros((5, 5, 2), np.int32)).shape == (0, 3)
    assert ki67.as_points(np.zeros((0, 3))).shape == (0, 3)


def test_labelling_index_and_its_agreement():
    counts = np.zeros((4, len(ki67.RADII), 2, 3), int)
    # True positives and negatives, then those found, of four images.
    counts[:, :, 0, 1], counts[:, :, 1, 1] = [[1], [2], [3], [0]], [[9], [8], [7], [0]]
    counts[:, :, 0, 2], counts[:, :, 1, 2] = [[2], [4], [6], [0]], [[8], [6], [4], [5]]
    true, pred = ki67.labelling_index(counts)
    np.testing.assert_allclose(true[:3], [10, 20, 30])
    np.testing.assert_allclose(pred, [20, 40, 60, 0])
    assert np.isnan(true[3])
    summary = ki67.summarise(counts)
    assert summary["index_error"] == pytest.approx((10 + 20 + 30) / 3)
    assert summary["index_pearson"] == pytest.approx(1)
    assert summary["index_spearman"] == pytest.approx(1)
    assert summary["n_without_index"] == 1
    # Nothing was found anywhere: no agreement, and no warning.
    counts[:, :, :, 2] = 0
    assert np.isnan(ki67.summarise(counts)["index_pearson"])


def test_comparison_is_a_paired_bootstrap_of_pooled_f1():
    rng = np.random.default_rng(3)
    true = rng.integers(20, 60, (6, 1, 2))
    shape = (6, len(ki67.RADII), 2)
    runs = []
    for share in (0.9, 0.8, 0.6):
        matched = rng.binomial(np.broadcast_to(true, shape), share)
        runs.append(
            np.stack([matched, np.broadcast_to(true, shape), matched + 5], axis=-1)
        )
    *seeds, baseline = runs
    found = ki67.compare(seeds, baseline, n_draws=200)
    f1 = [ki67.pooled(one.sum(axis=0))[2] for one in runs]
    difference = (f1[0] + f1[1]) / 2 - f1[2]
    # Draw by draw, image by image.
    draws = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), 200)
    gains = []
    for weights in draws:
        images = np.repeat(np.arange(6), weights)
        drawn = [ki67.pooled(one[images].sum(axis=0))[2] for one in runs]
        gains.append((drawn[0] + drawn[1]) / 2 - drawn[2])
    low, high = np.quantile(gains, (0.025, 0.975), axis=0)
    for i, radius in enumerate(ki67.RADII):
        for j, label in enumerate(ki67.CLASSES):
            expected = difference[i, j], low[i, j], high[i, j]
            assert found[f"f1_{label}_{radius}px"] == pytest.approx(expected)
    same = ki67.compare([baseline], baseline, n_draws=50)
    assert set(same.values()) == {(0.0, 0.0, 0.0)}


def test_quick_part_moves_the_points(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "QUICK_SIZE", 48)
    regions = [np.ones((96, 96), bool)] * 3
    data = make_dataset(regions=regions)
    for index, image in enumerate(data.images):
        path = tmp_path / f"{index}.png"
        imsave(path, image, check_contrast=False)
        data.images[index] = str(path)
    part = datasets.quick(data)
    assert part.kind == "ki67" and part.regions[0].shape == (48, 48)
    for image, points in zip(part.images, part.points, strict=True):
        assert image.shape == (48, 48, 3)
        rows, columns = np.rint(points[:, :2]).astype(int).T
        is_brown = image[rows, columns, 0] > image[rows, columns, 2].astype(int)
        np.testing.assert_array_equal(is_brown, points[:, 2] == 1)


def test_rows_of_one_kind_do_not_run_on_the_other():
    he, both = runner.rows_of("he", list(runner.ALL_ROWS)), runner.ALL_ROWS
    assert "psm-paper" in he and "psmlearn-ki67" not in he
    assert set(runner.rows_of("ki67", list(both))) == set(rows_ki67.ROWS_KI67)
    assert set(datasets.FOLDERS) == set(datasets.LOADERS) > set(datasets.KI67)


def test_pseudo_masks_alone_find_both_classes():
    data = make_dataset(n_images=2)
    masks, details = rows_ki67.run_clusterer(data, 0, False)
    assert ki67.criterion(ki67.count_images(data, masks)) > 0.95
    assert details["configuration"]["classes"] == "ki67"


def test_upper_mark_sees_no_nucleus_without_a_point():
    image, _, points = draw_field(0)
    region = np.zeros((96, 96), bool)
    region[20:70, 30:90] = True
    region[40:50, 60:90] = False
    part, moved = rows_ki67._labelled_part(image, points, region)
    assert part.shape == (50, 60, 3) and (part[20:30, 30:] == 255).all()
    expected = ki67.inside(points, region) - [20, 30, 0]
    np.testing.assert_array_equal(moved, expected)
    assert rows_ki67._labelled_part(image, points, None)[0] is image


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Give a folder of data in the layout of the glioma set, three tiny images."""
    root = tmp_path / "data" / "ki67_glioma"
    root.mkdir(parents=True)
    for index in range(3):
        image, mask, _ = draw_field(index, 3 + index, 6)
        name = f"100_-A-{index}_quarter"
        imsave(root / f"{name}.png", image, check_contrast=False)
        planes = {"inst": mask[..., 0].astype(np.uint16), "class": mask[..., 1]}
        for part, plane in planes.items():
            path = root / f"{name}_{part}.png"
            kind = np.uint16 if part == "inst" else np.uint8
            imsave(path, plane.astype(kind), check_contrast=False)
    # The parameters that are slow to change stay where the search begins.
    monkeypatch.setattr(tuning, "REACH", 0)
    monkeypatch.setattr(command, "run_in_process", runner.run_row)

    def find_truth(dataset, seed, quick):
        told = {"fit_seconds": 0.0, "predict_seconds": 0.1, "configuration": {}}
        wrong = np.zeros_like(dataset.masks[2])
        wrong[3:8, 3:8] = 1, 1 + seed % 2
        return [*dataset.masks[:2], wrong], told

    row = rows_ki67.Row(find_truth, "psmlearn, defaults", "none", kind="ki67")
    monkeypatch.setitem(runner.ALL_ROWS, "psmlearn-ki67", row)
    return tmp_path


def run_command(monkeypatch, folder, *options):
    line = ["accuracy", "--data", folder / "data", "--output", folder / "out", *options]
    monkeypatch.setattr("sys.argv", list(map(str, line)))
    command.main()


def test_ki67_rows_are_kept_scored_and_drawn(folder, monkeypatch):
    rows = ["--rows", "colour-stains", "psmlearn-ki67", "psm-paper"]
    figures = ["--figures", folder / "figures"]
    run_command(monkeypatch, folder, *rows, "--seeds", 0, 1, 2, *figures)
    out = folder / "out"
    kept = out / "ki67-glioma" / "colour-stains"
    assert [path.name for path in kept.iterdir()] == ["seed-0"]
    record = json.loads((kept / "seed-0" / "run.json").read_text())
    assert set(record["configuration"]["chosen"]) == {
        f"100_-A-{index}_quarter" for index in range(3)
    }
    assert len(list((kept / "seed-0" / "points").glob("*.csv"))) == 3
    seed = out / "ki67-glioma" / "psmlearn-ki67" / "seed-1"
    assert len(list((seed / "masks").glob("*.tif"))) == 3
    assert (
        not (out / "table.md").exists() and not (out / "ki67-glioma/psm-paper").exists()
    )

    lines = list(csv.DictReader((out / "ki67_table.csv").read_text().splitlines()))
    assert [line["seed"] for line in lines] == ["0", "0", "1", "2", "mean"]
    # Two images of three are perfect: of 12 positive nuclei seven, and one too many.
    assert float(lines[1]["f1_positive_6px"]) == pytest.approx(14 / (12 + 8), abs=1e-5)
    assert float(lines[2]["f1_positive_6px"]) == pytest.approx(14 / (12 + 7), abs=1e-5)
    named = [f"baseline_f1_{k}_{r}px" for k in ki67.CLASSES for r in ki67.RADII]
    assert {line[name] for line in lines for name in named} == {"colour-stains"}
    assert float(lines[0]["gain_f1_negative_10px"]) == 0
    text = (out / "ki67_table.md").read_text()
    assert "| psmlearn, defaults | none | 3 | " in text
    assert "| *best baseline* | *Threshold of each stain* |" in text
    # Of both images of the first half one is wrong.
    halves = [float(lines[1][f"f1_positive_6px_{half}"]) for half in report_ki67.HALVES]
    assert halves == pytest.approx([6 / (8 + 4), 1.0], abs=1e-5)
    for name in ("ki67-glioma-index.png", "ki67-glioma-overlays.jpg"):
        assert (folder / "figures" / name).stat().st_size > 10_000

    stamp = (kept / "seed-0" / "run.json").stat().st_mtime_ns
    run_command(monkeypatch, folder, *rows)
    assert (kept / "seed-0" / "run.json").stat().st_mtime_ns == stamp


def make_runs(shares, n_images=6, seeds=1):
    """Give runs of rows that match a share of nuclei, by row, radius and class."""
    rng = np.random.default_rng(1)
    true = rng.integers(30, 60, (n_images, 1, 2)).repeat(len(ki67.RADII), axis=1)
    found = {}
    for row, share in shares.items():
        matched = [rng.binomial(true, share) for _ in range(seeds)]
        found[row] = [
            {
                "dataset": "ki67-fields",
                "row": row,
                "seed": seed,
                "n_images": n_images,
                "names": [f"{n_images - i}" for i in range(n_images)],
                "counts": np.stack([one, true, true + 2], axis=-1),
                **dict.fromkeys(report_ki67.COSTS, 1.0),
                "machine": {"threads": 1},
                "versions": {"commit": "x"},
            }
            for seed, one in enumerate(matched)
        ]
    return found


def test_each_class_and_radius_has_its_own_best_baseline():
    log_hue = np.array([[0.9, 0.3], [0.9, 0.3], [0.2, 0.3], [0.2, 0.3]])
    stains = np.array([[0.5, 0.6], [0.5, 0.6], [0.5, 0.6], [0.5, 0.6]])
    shares = {"colour-log-hue": log_hue, "colour-stains": stains}
    found = make_runs(shares | {"psmlearn-ki67": np.full((4, 2), 0.7)})
    best = report_ki67.best_baselines(found)
    assert (
        best.rows
        == [["colour-log-hue", "colour-stains"]] * 2 + [["colour-stains"] * 2] * 2
    )
    for i in range(4):
        for j in range(2):
            own = found[best.rows[i][j]][0]["counts"][:, i, j]
            np.testing.assert_array_equal(best.counts[:, i, j], own)
    # One family over all would have given the first radius away.
    assert report_ki67.best_baseline(found) == "colour-stains"
    psm = found["psmlearn-ki67"][0]["counts"]
    gains = ki67.compare([psm], best.counts, n_draws=50)
    alone = ki67.compare([psm], found["colour-log-hue"][0]["counts"], n_draws=50)
    assert gains["f1_positive_5px"] == alone["f1_positive_5px"]
    assert gains["f1_negative_5px"] != alone["f1_negative_5px"]
    text = report_ki67._comparison(found, best, runner.ALL_ROWS)
    head, _, names, hue, *_ = text.splitlines()
    assert head.startswith("| row | + 5 px | − 5 px |")
    assert names.startswith(
        "| *best baseline* | *LoG blobs* | *Threshold of each stain* | *LoG blobs* |"
    )
    assert "class by colour | it is the best | −" in hue
    assert "in favour of the baselines" in text.splitlines()[-1]
    assert report_ki67.best_baselines({"psmlearn-ki67": []}) is None


def test_halves_are_every_other_image_by_file_name(tmp_path):
    found = make_runs({"psmlearn-ki67": np.full((4, 2), 0.7)}, seeds=2)
    runs = found["psmlearn-ki67"]
    # Names run backwards, so the first by name is the last image.
    counts = runs[1]["counts"][[5, 3, 1]].sum(axis=0)
    halves = report_ki67.f1_of_halves(runs)
    np.testing.assert_allclose(halves["looked_at"][1], ki67.pooled(counts)[2])
    others = runs[0]["counts"][[4, 2, 0]].sum(axis=0)
    np.testing.assert_allclose(halves["scored_only"][0], ki67.pooled(others)[2])
    report_ki67.write_tables(tmp_path, runs, runner.ALL_ROWS)
    text = (tmp_path / "ki67_table.md").read_text()
    assert "| + 5 px, looked at | + 5 px, scored only | − 5 px, looked at |" in text
    assert "the first (3 images)" in text and "the others (3 images)" in text
    *_, mean = csv.DictReader((tmp_path / "ki67_table.csv").read_text().splitlines())
    expected = halves["scored_only"][:, 3, 1].mean()
    found = float(mean["f1_negative_12px_scored_only"])
    assert found == pytest.approx(expected, abs=1e-6)


def test_names_that_are_numbers_are_halved_as_such():
    runs = make_runs({"psmlearn-ki67": np.full((4, 2), 0.7)})["psmlearn-ki67"]
    runs[0]["names"] = ["10", "9", "2", "1", "0", "11"]  # 0 1 2 9 10 11
    halves = report_ki67.f1_of_halves(runs)
    even = runs[0]["counts"][[4, 2, 0]].sum(axis=0)
    np.testing.assert_allclose(halves["looked_at"][0], ki67.pooled(even)[2])


def test_quick_check_refuses_wrong_classes():
    def run(row, n_matched):
        counts = np.full((1, len(ki67.RADII), 2, 3), 1000)
        counts[..., 0] = n_matched
        return {"dataset": "ki67-glioma-quick", "row": row, "counts": counts}

    right = 1000 * quick.FLOOR_F1["ki67-glioma-quick"]
    quick.check([run("colour-log-hue", right), run("clusterer-ki67", 600)])
    for wrong in (run("colour-log-hue", right - 50), run("clusterer-ki67", 300)):
        with pytest.raises(SystemExit, match="wrong"):
            quick.check([wrong])


def test_gains_are_bold_from_three_hundredths_on():
    assert (
        report.with_interval(0.031, 0.01, 0.05, 0.03) == "**+0.031** [+0.010, +0.050]"
    )
    assert report.with_interval(-0.02, -0.03, 0.0, 0.03) == "−0.020 [−0.030, +0.000]"
    assert report.with_spread((0.5, np.nan)) == "0.500"
    assert report.with_spread((np.nan, np.nan)) == "none"


def test_busiest_part_holds_both_classes(monkeypatch):
    monkeypatch.setattr(figures_ki67, "OVERLAY_SIZE", 20)
    points = np.array([[10, 10, 2.0]] * 9 + [[60, 60, 2.0]] * 6 + [[62, 62, 1.0]] * 4)
    _, (rows, columns) = figures_ki67._busiest_part(points, (100, 100))
    assert rows.start <= 60 < rows.stop and columns.start <= 60 < columns.stop


def test_the_supervised_threshold_is_chosen_on_the_images_trained_on():
    points = np.array([[10, 10, 1], [10, 40, 2], [40, 10, 2.0]])

    class Detector:
        def set_params(self, threshold):
            self.threshold = threshold
            return self

        def predict(self, images):
            """Too much at low thresholds, and nothing at high ones."""
            if self.threshold < 0.2:
                return [np.vstack([points, points + [0, 20, 0]]) for _ in images]
            return [points[: 3 if self.threshold < 0.28 else 0] for _ in images]

    model = Detector()
    assert rows_ki67._choose_threshold(model, [None], [points]) == 0.2
    assert model.threshold == 0.2
