# SPDX-License-Identifier: BSD-3-Clause
"""Wrong values of every parameter: a named error or a result, at once."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_estimators import SMALL, TinyBackbone, TinyMapNetwork, TinyPixelNetwork

from psmlearn import (
    activation,
    base,
    cluster,
    inspection,
    measure,
    metrics,
    preprocessing,
    segmentation,
    weak,
)

RNG = np.random.default_rng(0)
LABELS = np.zeros((40, 40), np.int32)
LABELS[5:12, 5:12], LABELS[20:28, 20:28] = 1, 2
MASK = np.stack([LABELS, LABELS], axis=-1)
IMAGE = RNG.random((40, 40, 3)) * 0.4 + 0.5
IMAGE[LABELS > 0] *= [0.5, 0.3, 0.7]
POINTS = np.array([[8.0, 8.0, 1], [24.0, 24.0, 2], [30.0, 10.0, 2]])

WRONG: list[Any] = [
    *(None, True, np.True_, "a", b"a", ""),
    *(-1, 0, 10**12, 10**400, float("nan"), float("inf"), 1e-300, 1e300, 1j),
    *([], [1], [True], ["a"], [None], [[1], [2, 3]], (0,), (1, 2, 3)),
    *({}, {"a": 1}, {1: 2}, {1}, object(), lambda: 0, slice(1), range(3)),
    *(np.array(3), np.array([1.5]), np.array(["a"]), np.array([None], object)),
    *(np.ma.array([1], mask=[1]), np.zeros((2, 2, 2, 2))),
]
SECONDS = 10  # of one call, on a machine that does much else

Case = tuple[Callable, dict[str, Any]]
FUNCTIONS: dict[str, Case] = {
    "h_score": (measure.h_score, {"intensity": [np.array([0.1, 0.3])]}),
    "allred_score": (measure.allred_score, {"intensity": [np.array([0.1, 0.3])]}),
    "find_hotspot": (
        measure.find_hotspot,
        {"y": [POINTS], "area": 1e-4, "pixel_size": 0.5, "shape": (99, 99)}
        | {"min_cells": 1},
    ),
    "find_hotspot of masks": (
        measure.find_hotspot,
        {"y": [MASK], "area": 1e-4, "pixel_size": 1.0, "min_cells": 1},
    ),
    "labelling_index": (measure.labelling_index, {"y": [MASK], "min_cells": 0}),
    "labelling_index of fields": (
        measure.labelling_index,
        {"y": [POINTS, POINTS[:2]] * 3, "min_cells": 0, "n_bootstrap": 20},
    ),
    "nuclei_table": (measure.nuclei_table, {"labels": MASK, "image": IMAGE}),
    "stain_intensity": (
        measure.stain_intensity,
        {"X": [IMAGE], "y": [POINTS], "radius": 3},
    ),
    "match_points": (metrics.match_points, {"y_true": POINTS, "y_pred": POINTS}),
    "get_scorer": (metrics.get_scorer, {"name": "dice"}),
    "OutlineScorer": (metrics.OutlineScorer, {}),
    "SilhouetteScorer": (metrics.SilhouetteScorer, {}),
    "StabilityScorer": (metrics.StabilityScorer, {}),
    "overlay_labels": (inspection.overlay_labels, {"image": IMAGE, "labels": MASK}),
    "color_map": (inspection.color_map, {"activation_map": IMAGE[..., 0]}),
    "artefact_mask": (preprocessing.artefact_mask, {"image": IMAGE}),
    "tissue_mask": (preprocessing.tissue_mask, {"image": IMAGE}),
    "estimate_stains": (preprocessing.estimate_stains, {"image": IMAGE}),
    "separate_stains": (preprocessing.separate_stains, {"image": IMAGE}),
    "stain_vector": (preprocessing.stain_vector, {"stain": "dab"}),
}
for _name in metrics.__all__:
    _function = getattr(metrics, _name)
    if inspect.isfunction(_function):
        _parameters = inspect.signature(_function).parameters
        if "average" in _parameters or "digits" in _parameters:
            _y = [POINTS] if "radius" in _parameters else [MASK]
            _y = [MASK] if "digits" in _parameters else _y
            FUNCTIONS[_name] = (_function, {"y_true": _y, "y_pred": _y})
FUNCTIONS["segmentation_report"][1]["labels"] = [1, 2]

# Words that errors use where they do not name the parameter as it is spelt.
SPELT = {
    "X": "image",
    "stains": "stain",
    "counterstain": "stain",
    "iou_thresholds": "iou_threshold",
    "true_color": "color",
    "positive_color": "color",
    "negative_color": "color",
}
# What Python counts with, or takes for true, without a word.
NUMBERS = (int, float, np.number)


def find_fault(call: Callable, name: str, value: Any, default: Any = None) -> str:
    """Tell what is wrong with a call; nothing if it gives a result or a named error."""
    began, at = time.perf_counter(), f"{name}={' '.join(repr(value).split())[:40]}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(value)
    except (TypeError, ValueError, FileNotFoundError, IsADirectoryError) as error:
        word = SPELT.get(name, name).lower()
        is_file = isinstance(error, FileNotFoundError) and repr(value) in str(error)
        told = str(error).lower()
        if not is_file and word not in told and word.replace("_", " ") not in told:
            return f"{at}: {type(error).__name__}: {error}"
    except Exception as error:
        return f"{at}: {type(error).__name__}: {error}"
    else:
        is_flag = isinstance(value, bool | np.bool_)
        takes_numbers = isinstance(default, NUMBERS) and not isinstance(default, bool)
        if is_flag and takes_numbers and name != "verbose":
            return f"{at} is taken for a number"
    took = time.perf_counter() - began
    return f"{at} took {took:.0f} s" if took > SECONDS else ""


def find_faults(
    call: Callable,
    given: dict[str, Any],
    skip: tuple[str, ...] = (),
    wrong_values: list[Any] = WRONG,
) -> list[str]:
    """Try wrong values for all parameters of a function."""
    faults = []
    for name, told in inspect.signature(call).parameters.items():
        if name in skip:
            continue
        for value in wrong_values:
            default = given.get(name, told.default)
            faults.append(
                find_fault(
                    lambda wrong, n=name: call(**{**given, n: wrong}),
                    name,
                    value,
                    default,
                )
            )
    return [fault for fault in faults if fault]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_values_of_functions(name):
    assert not find_faults(*FUNCTIONS[name])


def displays() -> dict[str, Case]:
    """Make the ways to draw, each with parameters that fit."""
    of_index = inspection.LabellingIndexDisplay.from_predictions
    of_masks = inspection.SegmentationDisplay.from_predictions
    return {
        "LabellingIndexDisplay": (
            of_index,
            {"image": IMAGE, "y": MASK, "min_cells": 0},
        ),
        "SegmentationDisplay": (of_masks, {"image": IMAGE, "labels": MASK}),
        "SegmentationDisplay.plot": (
            inspection.SegmentationDisplay(IMAGE, MASK).plot,
            {},
        ),
        "LabellingIndexDisplay.plot": (of_index(IMAGE, MASK, min_cells=0).plot, {}),
        "ActivationMapDisplay.plot": (
            inspection.ActivationMapDisplay(IMAGE, IMAGE[..., 0]).plot,
            {},
        ),
        "TrainingCurveDisplay.plot": (
            inspection.TrainingCurveDisplay([3.0, 2.0]).plot,
            {},
        ),
    }


# What any title or axes can be is matplotlib's to say.
OF_MATPLOTLIB = ("ax", "title", "plot_options", "line_options")


@pytest.mark.parametrize(
    "name",
    [
        "LabellingIndexDisplay",
        "SegmentationDisplay",
        "SegmentationDisplay.plot",
        "LabellingIndexDisplay.plot",
        "ActivationMapDisplay.plot",
        "TrainingCurveDisplay.plot",
    ],
)
def test_wrong_values_of_displays(name):
    plt = pytest.importorskip("matplotlib.pyplot")
    function, given = displays()[name]
    # One set of axes serves all: making them takes the most time.
    axes = plt.subplots()[1]

    def draw(**given):
        axes.clear()
        return function(**given, ax=axes)

    draw.__signature__ = inspect.signature(function)
    assert not find_faults(draw, given, OF_MATPLOTLIB, WRONG[::2])
    plt.close("all")


OPTIONS = [
    base.EarlyStopping,
    activation.Contrastive,
    activation.MeanValue,
    activation.Rotation,
    activation.SimSiam,
    activation.Similarity,
    segmentation.Voronoi,
    weak.ClusterRefinement,
    weak.ClusterResupervision,
    weak.Reconstruction,
]
ESTIMATORS = [
    activation.SelfActivationMapper,
    cluster.SemanticClusterer,
    segmentation.NucleiDetector,
    segmentation.NucleiSegmenter,
    segmentation.PseudoLabelSegmenter,
    segmentation.RegionSegmenter,
    weak.ClassActivationMapper,
    preprocessing.StainNormalizer,
    preprocessing.TissueDetector,
]


@pytest.mark.parametrize("kind", OPTIONS + ESTIMATORS, ids=lambda kind: kind.__name__)
def test_wrong_values_are_validated(kind):
    def validate(**given):
        kind(**given)._validate_params()

    validate.__signature__ = inspect.signature(kind)
    assert not find_faults(validate, {})


TRAINING = {
    "max_epochs": 1,
    "steps_per_epoch": 1,
    "batch_size": 2,
    "patch_size": 32,
    "device": "cpu",
    "early_stopping": False,
}
# Parameters of which more is looked at than a constraint can say; each with a fit.
LOOKED_AT = {
    activation.SelfActivationMapper: ["layers", "output_unit", "weights"],
    cluster.SemanticClusterer: ["classes", "foreground", "pixel_size", "n_clusters"],
    segmentation.NucleiSegmenter: [
        "value_range",
        "class_weight",
        "label_channel",
        "class_channel",
        "map_channel",
        "pixel_size",
        "patch_size",
        "batch_size",
    ],
    segmentation.NucleiDetector: ["class_weight", "label_channel", "pixel_size"],
    segmentation.RegionSegmenter: ["value_range", "pixel_size", "map_channel"],
    segmentation.PseudoLabelSegmenter: ["labeler", "segmenter", "classes"],
    weak.ClassActivationMapper: [
        "cam_levels",
        "value_range",
        "negative_label",
        "pixel_size",
        "base_channels",
    ],
    preprocessing.StainNormalizer: ["stains", "label_channel", "pixel_size"],
    preprocessing.TissueDetector: ["exclude", "pixel_size"],
}
NETWORKS = {
    activation.SelfActivationMapper: TinyBackbone,
    segmentation.NucleiSegmenter: TinyPixelNetwork,
    segmentation.NucleiDetector: TinyPixelNetwork,
    segmentation.RegionSegmenter: TinyPixelNetwork,
    weak.ClassActivationMapper: TinyMapNetwork,
}


def fit_with(kind: type, **given: Any) -> Any:
    """Fit an estimator with few pixels and steps."""
    small: dict[str, Any] = {}
    if kind in NETWORKS:
        small = {**TRAINING, "network": NETWORKS[kind]}
    if kind is cluster.SemanticClusterer:
        small = {"n_samples": 200, "n_init": 1, "max_iter": 5}
    model = kind(**{**small, **given})
    images = [IMAGE.astype(np.float32)]
    if kind is weak.ClassActivationMapper:
        return model.fit(images * 2, [0, 1])
    return model.fit(images, [POINTS if kind is segmentation.NucleiDetector else MASK])


def of_fit(kind):
    """Name an estimator; networks take their time."""
    marks = [pytest.mark.slow] if kind in NETWORKS else []
    return pytest.param(kind, marks=marks, id=kind.__name__)


@pytest.mark.parametrize("kind", [of_fit(kind) for kind in LOOKED_AT])
def test_wrong_values_in_fit(kind):
    assert set(LOOKED_AT) == set(ESTIMATORS) and len(SMALL) == 7  # a new one: add it
    faults = []
    for parameter in LOOKED_AT[kind]:
        for value in WRONG:
            if callable(value) and parameter in ("labeler", "foreground"):
                continue  # one's own function, which fails as it likes
            if value is None and kind is segmentation.PseudoLabelSegmenter:
                continue  # the whole default chain
            fault = find_fault(
                lambda wrong, p=parameter: fit_with(kind, **{p: wrong}),
                parameter,
                value,
            )
            faults.append(fault)
    assert not [fault for fault in faults if fault]


MASKED = weak.Reconstruction(mask_patch_size=10**6)
REFINED = weak.ClusterRefinement(n_clusters=10**8)
WIDE = activation.SimSiam(embedding_dim=10**9)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (weak.ClassActivationMapper, {"reconstruction": MASKED}),
        (weak.ClassActivationMapper, {"base_channels": 10**7}),
        (weak.ClassActivationMapper, {"refinement": REFINED}),
        (segmentation.NucleiSegmenter, {"patch_size": 500_000}),
        (segmentation.NucleiSegmenter, {"batch_size": 4096, "patch_size": 4096}),
        (segmentation.NucleiDetector, {"batch_size": 900_000}),
        (activation.SelfActivationMapper, {"pretext": WIDE}),
        (cluster.SemanticClusterer, {"n_clusters": 10**7}),
    ],
)  # fmt: skip
def test_what_no_machine_holds_is_refused(kind, given):
    began = time.perf_counter()
    with pytest.raises(
        ValueError,
        match="|".join(["mask_patch_size", "embedding_dim", "n_clusters", *given]),
    ):
        fit_with(kind, **given)
    assert time.perf_counter() - began < SECONDS


@pytest.mark.parametrize(
    "given",
    [
        {"smoothing": 5000.0},
        {"background_radius": 9000.0},
        {"nucleus_diameter": 8000.0},
        {"opening_radius": 9999.0, "max_hole_area": 1e12},
        {"smoothing": 900.0, "classes": "he"},
        {"background_radius": 9000.0, "nucleus_diameter": 5000.0, "classes": "ki67"},
    ],
)
@pytest.mark.filterwarnings("ignore::psmlearn.exceptions.StainWarning")
def test_lengths_beyond_the_image_take_no_time(given):
    began = time.perf_counter()
    fit_with(cluster.SemanticClusterer, pixel_size=0.01, **given)
    assert time.perf_counter() - began < SECONDS


@pytest.mark.parametrize("name", ["smoothing", "background_radius", "nucleus_diameter"])
def test_lengths_beyond_any_slide_are_refused(name):
    with pytest.raises(ValueError, match=name):
        fit_with(cluster.SemanticClusterer, **{name: 1e7})


@pytest.mark.parametrize("area", [2e-10, 1e-8, 1e-300])
def test_a_field_smaller_than_a_pixel_is_refused(area):
    with pytest.raises(ValueError, match="area.*less than two pixels"):
        measure.find_hotspot([POINTS], area=area, pixel_size=0.5, shape=(99, 99))


@pytest.mark.parametrize("area", [1e-6, 1e-5])
def test_a_small_field_in_a_large_image_takes_no_memory(area):
    spot = measure.find_hotspot(
        [POINTS], area=area, pixel_size=0.5, shape=(10**6, 10**6), min_cells=1
    )
    assert spot.n_cells == 1


@pytest.mark.parametrize("radius", [1e6, 350.0, 10**9])
def test_a_disc_larger_than_the_image_is_refused(radius):
    with pytest.raises(ValueError, match=r"radius.*40, 40"):
        measure.stain_intensity([IMAGE], [POINTS], radius=radius)


@pytest.mark.parametrize("radius", [30.0, 40, 90.5])
def test_discs_are_cut_at_the_edge(radius):
    (values,) = measure.stain_intensity([IMAGE], [POINTS], radius=radius)
    assert np.isfinite(values).all()
