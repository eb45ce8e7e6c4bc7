# SPDX-License-Identifier: BSD-3-Clause
"""Checks of parameters, seeds, global state, pickles, threads and caches."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline

from psmlearn.utils._check_tools import (
    PassThrough,
    fit,
    fitted,
    fresh,
    has_network,
    image_array,
    image_list,
    methods_of,
    needs_masks,
    outputs,
    parts_of,
    require,
    require_equal,
)

# -- parameters ----------------------------------------------------------------


def check_parameters(name: str, estimator: BaseEstimator) -> None:
    """get_params, set_params and clone agree, and fit changes no parameter."""
    parameters = estimator.get_params(deep=False)
    built = type(estimator)(**parameters)
    for key, value in parameters.items():
        require(
            built.get_params(deep=False)[key] is value,
            f"{name}.__init__ does not store {key} as it came.",
        )
    require(built.set_params(**parameters) is built, "set_params returns self.")
    ready = fresh(estimator)
    before = ready.get_params(deep=False)
    hashes = {key: joblib.hash(value) for key, value in before.items()}
    images, masks = image_array()
    outputs(fit(ready, images, masks), images)
    for key, value in ready.get_params(deep=False).items():
        require(
            value is before[key] and joblib.hash(value) == hashes[key],
            f"{name}.fit has changed the parameter {key}.",
        )


def check_fit_returns_self(name: str, estimator: BaseEstimator) -> None:
    """fit returns the estimator, with the channels of its images."""
    images, masks = image_array()
    ready = fresh(estimator)
    require(fit(ready, images, masks) is ready, f"{name}.fit does not return self.")
    n_features = getattr(ready, "n_features_in_", 3)
    require(n_features == 3, f"{name}.n_features_in_ is {n_features} for RGB images.")


def check_clone_drops_state(name: str, estimator: BaseEstimator) -> None:
    """A clone of a fitted estimator has its parameters and nothing else."""
    ready = fitted(estimator)
    copied = clone(ready)
    left = set(vars(copied)) - set(vars(clone(fresh(estimator))))
    require(not left, f"clone of {name} keeps {sorted(left)}.")
    state = [key for key in vars(copied) if key.endswith("_") and key[0] != "_"]
    require(not state, f"clone of {name} keeps {state}.")


# -- repeatability -------------------------------------------------------------


def check_fit_twice(name: str, estimator: BaseEstimator) -> None:
    """A second fit of one estimator gives what the first gave."""
    images, masks = image_array()
    ready = fresh(estimator)
    first = outputs(fit(ready, images, masks), images)
    fit(ready, *image_list())
    second = outputs(fit(ready, images, masks), images)
    require_equal(first, second, f"{name}: fit twice")


def check_seed_repeats(name: str, estimator: BaseEstimator) -> None:
    """Two clones with one seed are equal bit for bit, whatever ran between."""
    images, masks = image_list()
    first = outputs(fitted(estimator, images, masks), images)
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(12345)  # noqa: NPY002
        second = outputs(fitted(estimator, images, masks), images)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    require_equal(first, second, f"{name}: two clones with one seed")


def check_fit_transform(name: str, estimator: BaseEstimator) -> None:
    """fit_transform and fit_predict give what fit and the method give."""
    images, masks = image_list()
    for method in ("transform", "predict"):
        if not hasattr(estimator, f"fit_{method}"):
            continue
        at_once = getattr(fresh(estimator), f"fit_{method}")(images)
        in_steps = getattr(fitted(estimator, images, masks), method)(images)
        require_equal(
            {method: at_once}, {method: in_steps}, f"{name}: fit_{method} and steps"
        )


# -- global state --------------------------------------------------------------


def _global_state(with_torch: bool) -> dict[str, object]:
    """Return what an estimator must leave as it finds it."""
    state: dict[str, object] = {
        "numpy's random stream": joblib.hash(np.random.get_state()),  # noqa: NPY002
        "numpy's error handling": np.geterr(),
        "sys.path": list(sys.path),
    }
    if with_torch:
        import torch

        state |= {
            "torch's random stream": torch.get_rng_state().numpy().tobytes(),
            "torch's grad mode": torch.is_grad_enabled(),
            "torch's inference mode": torch.is_inference_mode_enabled(),
            "torch's default dtype": torch.get_default_dtype(),
            "torch's thread count": torch.get_num_threads(),
            "torch's determinism": torch.are_deterministic_algorithms_enabled(),
            "torch's cuDNN benchmark": torch.backends.cudnn.benchmark,
            "torch's matmul precision": torch.get_float32_matmul_precision(),
        }
    return state


def check_global_state_untouched(name: str, estimator: BaseEstimator) -> None:
    """Random streams and settings of numpy and torch are left as found."""
    images, masks = image_array()
    with_torch = has_network(estimator)
    before = _global_state(with_torch)
    ready = fitted(estimator, images, masks)
    outputs(ready, images)
    pickle.loads(pickle.dumps(ready))
    after = _global_state(with_torch)
    for what, value in before.items():
        require(value == after[what], f"{name} has changed {what}.")


def check_grad_modes(name: str, estimator: BaseEstimator) -> None:
    """Under no_grad and inference_mode the results are the same, the mode stays."""
    import torch

    images, masks = image_array()
    first = outputs(fitted(estimator, images, masks), images)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            before = _global_state(True)
            second = outputs(fitted(estimator, images, masks), images)
            after = _global_state(True)
        require(before == after, f"{name} changes torch's state under {mode.__name__}.")
        require_equal(first, second, f"{name} under {mode.__name__}")


# -- copies --------------------------------------------------------------------


def check_pickle(name: str, estimator: BaseEstimator) -> None:
    """pickle, joblib.dump and deepcopy keep the predictions."""
    images, masks = image_array()
    ready = fitted(estimator, images, masks)
    first = outputs(ready, images)
    buffer = io.BytesIO()
    joblib.dump(ready, buffer)
    buffer.seek(0)
    copies = {
        "pickle": pickle.loads(pickle.dumps(ready)),
        "joblib.dump": joblib.load(buffer),
        "deepcopy": copy.deepcopy(ready),
    }
    for what, copied in copies.items():
        require_equal(first, outputs(copied, images), f"{name} after {what}")


def check_memory_map(name: str, estimator: BaseEstimator) -> None:
    """An estimator whose arrays are read-only memory maps predicts the same."""
    images, masks = image_array()
    ready = fitted(estimator, images, masks)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "estimator.joblib"
        joblib.dump(ready, path)
        mapped = joblib.load(path, mmap_mode="r")
        require_equal(
            outputs(ready, images), outputs(mapped, images), f"{name}, memory-mapped"
        )
        del mapped


def check_hash(name: str, estimator: BaseEstimator) -> None:
    """joblib.hash is kept by pickling and predicting, and changed by parameters."""
    images, masks = image_array()
    unfitted = fresh(estimator)
    require(
        joblib.hash(unfitted) == joblib.hash(clone(unfitted)),
        f"joblib.hash of {name} and of its clone differ.",
    )
    ready = fitted(estimator, images, masks)
    before = joblib.hash(ready)
    require(before != joblib.hash(unfitted), f"joblib.hash of {name} ignores its fit.")
    outputs(ready, images)
    require(before == joblib.hash(ready), f"predicting changes joblib.hash of {name}.")
    copied = pickle.loads(pickle.dumps(ready))
    require(before == joblib.hash(copied), f"pickling changes joblib.hash of {name}.")


# -- memory, threads, caches ---------------------------------------------------


def check_images_not_kept(name: str, estimator: BaseEstimator) -> None:
    """A pickled estimator does not carry its training images."""
    images, masks = image_array()
    ready = fitted(estimator, images, masks)
    for part in parts_of(ready):
        for key, value in vars(part).items():
            shared = isinstance(value, np.ndarray) and np.shares_memory(value, images)
            require(not shared, f"{name} holds its training images in {key}.")


def check_threads(name: str, estimator: BaseEstimator) -> None:
    """One fitted estimator answers two threads at once."""
    images, masks = image_list()
    ready = fitted(estimator, images, masks)
    first = outputs(ready, images)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: outputs(ready, images), range(4)))
    for answer in answers:
        require_equal(first, answer, f"{name} in two threads")


def check_cached_pipeline(name: str, estimator: BaseEstimator) -> None:
    """In a Pipeline with ``memory=`` it gives what it gives without, twice."""
    images, masks = image_list()
    y = masks if needs_masks(estimator) else None
    steps = [("first", PassThrough()), ("checked", fresh(estimator))]
    if hasattr(estimator, "transform"):
        steps.append(("last", PassThrough()))
    method = methods_of(Pipeline(steps))[0]
    first = _run_pipeline(steps, None, method, images, y)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        memory = joblib.Memory(folder, verbose=0)
        for what in ("computed", "read"):
            second = _run_pipeline(steps, memory, method, images, y)
            require_equal(
                {method: first}, {method: second}, f"{name}, cached and {what}"
            )


def _run_pipeline(
    steps: list, memory: joblib.Memory | None, method: str, images: Any, y: Any
) -> Any:
    pipeline = clone(Pipeline(steps, memory=memory)).fit(images, y)
    return getattr(pipeline, method)(images)


def check_nothing_printed(name: str, estimator: BaseEstimator) -> None:
    """Nothing is printed to standard output, progress included."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        outputs(fitted(estimator), image_array()[0])
    require(not told.getvalue(), f"{name} prints {told.getvalue()[:80]!r}.")
