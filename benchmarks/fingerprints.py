# SPDX-License-Identifier: BSD-3-Clause
"""Fingerprints of what every estimator gives, to see whether a change alters results.

    python -m benchmarks.fingerprints --set small          # against the stored ones
    python -m benchmarks.fingerprints --set small --write  # store anew

Every case fits an estimator, on synthetic images or real ones (folder in
``PSMLEARN_DATA``), and its maps, masks, probabilities, points and scores are hashed.
Bits hold on one kind of machine, with one build of torch and one thread: the file of
hashes names them, and elsewhere a difference means nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import fingerprint_parts as parts

STORE = Path(__file__).with_suffix(".json")
CASES: dict[str, tuple[str, Callable[[], dict]]] = {}


def case(group: str):
    """Take down a function as a case of a group, "small" or "default"."""

    def take(function):
        CASES[function.__name__] = (group, function)
        return function

    return take


def digest(value) -> str:
    """Hash arrays, lists of them and numbers, with their shapes and dtypes."""
    state = hashlib.sha256()
    _feed(state, value)
    return state.hexdigest()[:16]


def _feed(state, value) -> None:
    if isinstance(value, dict):
        for key in sorted(value):
            state.update(str(key).encode())
            _feed(state, value[key])
    elif isinstance(value, list | tuple):
        state.update(f"[{len(value)}".encode())
        for each in value:
            _feed(state, each)
    else:
        array = np.ascontiguousarray(value)
        state.update(f"{array.dtype.str}{array.shape}".encode())
        if array.dtype.kind == "O":
            state.update(repr(array.tolist()).encode())
        else:
            state.update(array.tobytes())


# -- images -----------------------------------------------------------------------


def _nuclei(n=4, side=96, seed=3):
    from psmlearn.datasets import make_nuclei

    return make_nuclei(n, (side, side), n_nuclei=10, random_state=seed)


def _ki67(n=4, side=128, seed=5):
    from psmlearn.datasets import make_nuclei

    return make_nuclei(n, (side, side), n_nuclei=14, stain="ki67", random_state=seed)


def _slices(n=24, side=64, seed=7):
    from psmlearn.datasets import make_lesions

    return make_lesions(n, (side, side), random_state=seed)


class LeftOut(Exception):
    """The images of a case are not here."""


def _data(name: str) -> Path:
    folder = Path(os.environ.get("PSMLEARN_DATA", "nowhere")) / name
    if not folder.is_dir():
        raise LeftOut(f"no folder {name} in PSMLEARN_DATA")
    return folder


def _he_crops(n=3, side=256):
    from psmlearn.io import read_image, read_labels

    folder = _data("monuseg/MoNuSegTrainingData")
    paths = sorted((folder / "Tissue Images").glob("*.tif"))[:n]
    images = [read_image(path)[300 : 300 + side, 300 : 300 + side] for path in paths]
    masks = [
        read_labels(folder / "labels" / f"{path.stem}.png")[
            300 : 300 + side, 300 : 300 + side
        ]
        for path in paths
    ]
    return images, masks


def _ki67_crops(n=2, side=320):
    from psmlearn.io import read_image

    paths = sorted(_data("bcdata/images/test").glob("*.png"))[:n]
    return [read_image(path)[:side, :side] for path in paths]


def _mri(n=48):
    from psmlearn.io import read_image

    found = sorted(_data("lgg_mri").glob("*/*_mask.png"))[::8][:n]
    images = [read_image(str(p).replace("_mask.png", ".png")) for p in found]
    labels = [int((read_image(p) > 0).any()) for p in found]
    return images, labels


# -- what is hashed of an estimator -----------------------------------------------


def _told(model, images, y=None) -> dict:
    """Ask for all that an estimator answers on images."""
    found = {}
    for method in (
        "transform",
        "predict",
        "predict_proba",
        "detect",
        "predict_image_proba",
    ):
        if hasattr(model, method):
            found[method] = getattr(model, method)(images)
    for name in ("loss_curve_", "validation_loss_curve_", "labels_", "map_ranges_"):
        if hasattr(model, name):
            found[name] = getattr(model, name)
    if y is not None and hasattr(model, "score"):
        found["score"] = model.score(images, y)
    return found


# -- small settings ---------------------------------------------------------------

SMALL = {
    "max_epochs": 2,
    "steps_per_epoch": 2,
    "batch_size": 4,
    "patch_size": 32,
    "device": "cpu",
    "random_state": 0,
}


@case("small")
def mapper_pretexts() -> dict:
    data = _nuclei()
    found = {}
    for name, options in {
        "mean_value": {},
        "similarity": {},
        "contrastive": {},
        "rotation": {},
        "simsiam": {},
        "mean_value literal": {"loss": "l1", "target": "grey"},
        "similarity literal": {"loss": "l1", "augment": False},
        "contrastive literal": {"loss": "mse", "margin": 10.0, "augment": False},
        "rotation literal": {"loss": "mse", "embedding_dim": 8, "augment": False},
        "simsiam literal": {
            "loss": "l1",
            "embedding_dim": 8,
            "train_heads": False,
            "augment": False,
        },
        "similarity spread": {"variance_weight": 0.5},
    }.items():
        pretext = name.split()[0]
        model = parts.mapper(pretext, options, **SMALL).fit(data.images)
        found[name] = _told(model, data.images)
    return found


@case("small")
def mapper_maps() -> dict:
    images = _nuclei(3, 160).images
    found = {}
    for name, options in {
        "layercam": {"method": "layercam", "layers": ["conv1", "layer1"]},
        "gradcam++": {"method": "gradcam++", "channel_weights": "image"},
        "gradcam image": {"channel_weights": "image", "scale": "image"},
        "gradcam image tiles": {"channel_weights": "image", "tile_size": 64},
        "eigencam": {"method": "eigencam"},
        "eigencam image tiles": {
            "method": "eigencam",
            "channel_weights": "image",
            "tile_size": 64,
        },
        "tiles": {"tile_size": 64},
        "bytes": {
            "input_scale": "byte",
            "map_input_scale": "unit",
            "output_unit": 0,
            "crop": "center",
            "polarity": None,
            "schedule": "constant",
            "max_gradient_norm": None,
        },
        "dark": {"polarity": "dark", "output": "maps", "precision": "bfloat16"},
    }.items():
        model = parts.mapper("mean_value", {}, **{**SMALL, **options}).fit(images)
        found[name] = _told(model, images)
    return found


@case("small")
def mapper_goes_on() -> dict:
    images = _nuclei().images
    stopped = parts.mapper(
        "mean_value", {}, early=parts.EARLY, **{**SMALL, "max_epochs": 3}
    )
    found = {"early": _told(stopped.fit(images), images)}
    warm = parts.mapper("mean_value", {}, warm_start=True, **SMALL)
    found["warm"] = _told(warm.fit(images).fit(images), images)
    partial = parts.mapper("mean_value", {}, **SMALL)
    partial.partial_fit(images).partial_fit(images[:2])
    found["partial"] = _told(partial, images)
    grey = [image[..., :1] for image in images]
    found["grey"] = _told(parts.mapper("mean_value", {}, **SMALL).fit(grey), grey)
    return found


@case("small")
def clusterer_options() -> dict:
    from psmlearn import SemanticClusterer

    data = _nuclei()
    ki67 = _ki67()
    mapper = parts.mapper("mean_value", {}, **SMALL)
    stacks = mapper.fit_transform(data.images)
    common = {"random_state": 0, "n_samples": 2000}
    paper = {
        "n_clusters": 3,
        "fusion": "jet",
        "foreground": "paper",
        "min_contrast": 0,
        "min_area": 0,
        "max_hole_area": 4,
        "opening_radius": 0,
        "instances": False,
    }
    found = {}
    for name, images, options in [
        ("plain", data.images, {}),
        ("map", stacks, {}),
        ("paper", stacks, paper),
        ("all", stacks, {"fit_scope": "all", "n_clusters": 3}),
        ("int", data.images, {"foreground": 1, "n_clusters": 4}),
        ("he", data.images, {"classes": "he"}),
        ("ki67", ki67.images, {"classes": "ki67"}),
        ("ki67 all", ki67.images, {"classes": "ki67", "fit_scope": "all"}),
    ]:
        model = SemanticClusterer(**{**common, **options}).fit(images)
        told = _told(model, images)
        told["score"] = model.score(images)
        told["centers"] = model.cluster_centers_
        told["foreground"] = model.foreground_
        told["inertia"] = model.inertia_
        found[name] = told
    table = np.random.default_rng(0).random((500, 3))
    model = SemanticClusterer(3, **common).fit(table)
    found["table"] = [model.labels_, model.transform(table), model.score(table)]
    return found


@case("small")
def detector_targets() -> dict:
    data, ki67 = _nuclei(), _ki67()
    points = [np.argwhere(mask > 0)[::97].astype(float) for mask in data.masks]
    found = {}
    for name, images, y, targets, options in [
        ("heat", data.images, data.masks, "heatmap", {}),
        ("mask", data.images, data.masks, "mask", {"merge_distance": 2.0}),
        ("points", data.images, points, "heatmap", {}),
        ("classes", ki67.images, ki67.masks, "heatmap", {}),
        ("mask classes", ki67.images, ki67.masks, "mask", {}),
    ]:
        model = parts.detector(targets, **{**SMALL, **options}).fit(images, y)
        found[name] = _told(model, images)
    warm = parts.detector("heatmap", warm_start=True, **SMALL)
    warm.fit(data.images, data.masks).fit(data.images, data.masks)
    found["warm"] = _told(warm, data.images)
    return found


@case("small")
def segmenter_targets() -> dict:
    data, ki67 = _nuclei(), _ki67()
    free = [image * 40 - 7 for image in data.images]
    found = {}
    for name, images, y, targets, options in [
        ("distance", data.images, data.masks, "distance", {}),
        ("voronoi", data.images, data.masks, "voronoi", {}),
        ("voronoi literal", data.images, data.masks, "voronoi literal", {}),
        ("classes", ki67.images, ki67.masks, "distance", {"nucleus_diameter": "auto"}),
        ("voronoi classes", ki67.images, ki67.masks, "voronoi", {}),
        ("balanced", ki67.images, ki67.masks, "distance", {"class_weight": "balanced"}),
        ("free", free, data.masks, "distance", {"value_range": None}),
        ("tiles", data.images, data.masks, "distance", {"tile_size": 48}),
        ("no stop", data.images, data.masks, "distance", {"early": None}),
    ]:
        model = parts.segmenter(targets, **{**SMALL, **options}).fit(images, y)
        found[name] = _told(model, images, y)
    warm = parts.segmenter("distance", warm_start=True, **SMALL)
    warm.fit(data.images, data.masks).fit(data.images, data.masks)
    found["warm"] = _told(warm, data.images)
    return found


@case("small")
def regions() -> dict:
    data = _slices()
    found = {}
    for name, options in {"plain": {}, "area": {"min_area": 1.0}}.items():
        model = parts.regions(**{**SMALL, **options}).fit(data.images, data.masks)
        found[name] = _told(model, data.images, data.masks)
    classes = [np.stack([m, np.where(m > 0, 1 + m % 2, 0)], -1) for m in data.masks]
    model = parts.regions(**SMALL).fit(data.images, classes)
    found["classes"] = _told(model, data.images, classes)
    return found


@case("small")
def weak_terms() -> dict:
    data = _slices()
    labels = np.array([int((mask > 0).any()) for mask in data.masks])
    many = np.arange(len(labels)) % 3
    several = np.stack([labels, many > 0], axis=1).astype(int)
    small = {**SMALL, "batch_size": 8, "max_epochs": 3, "threshold": 0.2}
    found = {}
    for name, y, options in [
        ("default", labels, {}),
        ("plain", labels, {"resupervision": None, "reconstruction": None}),
        ("reconstruction", labels, {"resupervision": None}),
        ("clusters", labels, {"reconstruction": None}),
        ("share", labels, {"resupervision": {"voting": "share", "n_clusters": 5}}),
        ("unrefined", labels, {"refinement": None}),
        ("literal", labels, parts.LITERAL_CRS),
        ("three", many, {}),
        ("several", several, {}),
        ("none negative", many, {"negative_label": None}),
        ("early", labels, {"early": parts.EARLY}),
    ]:
        model = parts.class_mapper(**{**small, **options})
        told = {"fit_predict": model.fit_predict(data.images, y)}
        found[name] = told | _told(model, data.images, y)
    warm = parts.class_mapper(warm_start=True, **small)
    found["warm"] = _told(
        warm.fit(data.images, labels).fit(data.images, labels), data.images
    )
    return found


@case("small")
def pseudo_labels() -> dict:
    from psmlearn import PseudoLabelSegmenter, SemanticClusterer

    data, ki67, slices = _nuclei(), _ki67(), _slices()
    labels = np.array([int((mask > 0).any()) for mask in slices.masks])
    small = {**SMALL, "random_state": None}
    found = {}
    model = PseudoLabelSegmenter(
        parts.labeler(small), parts.segmenter("distance", **small), random_state=1
    )
    found["he"] = _told(model.fit(data.images), data.images, data.masks)
    model = PseudoLabelSegmenter(
        SemanticClusterer(),
        parts.segmenter("distance", **small),
        n_rounds=2,
        random_state=1,
    )
    found["rounds"] = _told(model.fit(data.images), data.images, data.masks)
    for source in ("stain", "network"):
        model = PseudoLabelSegmenter(
            SemanticClusterer(classes="ki67"),
            parts.segmenter("distance", **small),
            class_source=source,
            n_rounds=2,
            random_state=1,
        )
        told = _told(model.fit(ki67.images), ki67.images, ki67.masks)
        found[f"ki67 {source}"] = told
    model = PseudoLabelSegmenter(
        parts.class_mapper(**{**small, "batch_size": 8, "threshold": 0.2}),
        parts.regions(**small),
        random_state=1,
    )
    model.fit(slices.images, image_labels=labels)
    found["weak"] = _told(model, slices.images, slices.masks)
    return found


@case("small")
def scores() -> dict:
    from psmlearn import metrics
    from psmlearn.measure import labelling_index, nuclei_table

    true, pred = _nuclei(5, 96, 11), _nuclei(5, 96, 12)
    mixed = [
        np.where(t % 3 == 0, p, t) for t, p in zip(true.masks, pred.masks, strict=True)
    ]
    mixed = [np.asarray(mask, np.int32) for mask in mixed]
    found = {}
    for name in sorted(metrics.__all__):
        score = getattr(metrics, name)
        if name.endswith(("_score", "_distance", "_error")) and callable(score):
            if name.startswith("detection") and name != "detection_quality_score":
                continue
            for average in ("macro", "micro", None):
                if name == "count_error" and average == "micro":
                    continue
                found[f"{name} {average}"] = score(
                    list(true.masks), mixed, average=average
                )
    points = [np.argwhere(mask > 0)[::31].astype(float) for mask in true.masks]
    moved = [each + 1.5 for each in points]
    for name in ("f1", "precision", "recall"):
        score = getattr(metrics, f"detection_{name}_score")
        found[f"detection {name}"] = score(points, moved, radius=4.0)
    ki67 = _ki67()
    found["table"] = dict(nuclei_table(ki67.masks[0], ki67.images[0], pixel_size=0.5))
    found["index"] = dict(labelling_index(list(ki67.masks)).table)
    return found


# -- default settings on real images ----------------------------------------------


@case("default")
def he_chain() -> dict:
    from psmlearn import PseudoLabelSegmenter

    images, masks = _he_crops()
    model = PseudoLabelSegmenter(random_state=0, device="cpu").fit(images)
    found = _told(model, images, masks)
    found["maps"] = model.labeler_.named_steps["maps"].transform(images)
    found["pseudo"] = model.labeler_.predict(images)
    return found


@case("default")
def ki67_chain() -> dict:
    from psmlearn import PseudoLabelSegmenter

    images = _ki67_crops()
    model = PseudoLabelSegmenter(classes="ki67", random_state=0, device="cpu")
    found = _told(model.fit(images), images)
    found["pseudo"] = model.labeler_.predict(images)
    return found


@case("default")
def weak_chain() -> dict:
    from psmlearn import ClassActivationMapper, PseudoLabelSegmenter

    images, labels = _mri()
    model = PseudoLabelSegmenter(
        ClassActivationMapper(random_state=0, device="cpu"),
        random_state=0,
        device="cpu",
    )
    model.segmenter = parts.regions(
        patch_size=128, pixel_size=1000.0, device="cpu", random_state=0
    )
    model.fit(images, image_labels=labels)
    found = _told(model, images)
    found["maps"] = model.labeler_.transform(images)
    found["labels"] = model.labeler_.predict_image_proba(images)
    return found


@case("default")
def detector_default() -> dict:
    images, masks = _he_crops(2)
    model = parts.detector("heatmap", device="cpu", random_state=0, max_epochs=6)
    return _told(model.fit(images, masks), images)


# -- running ----------------------------------------------------------------------


def environment() -> dict:
    """Name what bits depend on."""
    import torch

    model = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else ""
    return {
        "machine": platform.machine(),
        "processor": model,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def run(names: list[str]) -> dict:
    """Run cases; return the hash of each part of each."""
    import torch

    torch.set_num_threads(1)
    found = {}
    for name in names:
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result = CASES[name][1]()
            except LeftOut as error:
                print(f"{name}: left out, {error}", flush=True)
                continue
        found[name] = {
            key: (
                {inner: digest(value[inner]) for inner in value}
                if isinstance(value, dict)
                else digest(value)
            )
            for key, value in result.items()
        }
        print(f"{name}: {time.process_time() - start:.0f} CPU s", flush=True)
    return found


def _flat(values: dict, prefix: str = "") -> dict[str, str]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key} / ")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def main() -> int:
    """Run the cases that are asked for, and compare or store them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=("small", "default", "all"), default="all")
    parser.add_argument("--cases", nargs="*", choices=sorted(CASES))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--store", type=Path, default=STORE)
    options = parser.parse_args()
    names = options.cases or [
        name for name, (group, _) in CASES.items() if options.set in ("all", group)
    ]
    found = run(names)
    stored = json.loads(options.store.read_text()) if options.store.exists() else {}
    if options.write:
        kept = stored.get("hashes", {}) | found
        options.store.write_text(
            json.dumps({"environment": environment(), "hashes": kept}, indent=1) + "\n"
        )
        return 0
    here, there = environment(), stored.get("environment")
    if here != there:
        print(f"stored on another machine or build: {there}; here {here}")
    known = {name: stored.get("hashes", {}).get(name, {}) for name in found}
    before, now = _flat(known), _flat(found)
    changed = [key for key in before | now if before.get(key) != now.get(key)]
    for key in changed:
        what = "differs" if key in before and key in now else "new"
        print(f"{what if key in now else 'lacks'}: {key}")
    n_same = len(before | now) - len(changed)
    print(f"{n_same} of {len(before | now)} hashes are as stored")
    return 1 if changed or not now else 0


if __name__ == "__main__":
    sys.exit(main())
