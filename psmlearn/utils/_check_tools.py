# SPDX-License-Identifier: BSD-3-Clause
"""What the image checks share: small images, seeded fits, comparisons."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import Bunch, get_tags

from psmlearn.datasets import make_nuclei

METHODS = ("transform", "predict", "predict_proba", "detect")

Images = Sequence[np.ndarray] | np.ndarray


def require(condition: object, message: str) -> None:
    """Fail a check, under ``python -O`` too."""
    if not condition:
        raise AssertionError(message)


# scikit-learn has no stubs, so that mypy does not know its __init_subclass__.
class PassThrough(  # type: ignore[call-arg]
    TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """A step of a Pipeline that hands images on as they are."""

    def fit(self, X: Images, y: object = None) -> PassThrough:
        """Do nothing but note that it was called."""
        self.is_fitted_ = True
        return self

    def transform(self, X: Images) -> Images:
        """Return `X`."""
        return X


# -- images --------------------------------------------------------------------


@cache
def _nuclei(n_images: int, height: int, width: int) -> Bunch:
    return make_nuclei(
        n_images,
        (height, width),
        n_nuclei=max(4, height * width // 700),
        random_state=7,
    )


def image_array(n_images: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return fresh images (n, 64, 64, 3) uint8 and their masks."""
    data = _nuclei(n_images, 64, 64)
    return data.images.copy(), data.masks.copy()


def image_list() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return fresh images of different sizes and their masks."""
    images, masks = image_array(3)
    sizes = [(64, 64), (64, 48), (40, 56)]
    return (
        [image[:h, :w].copy() for image, (h, w) in zip(images, sizes, strict=True)],
        [mask[:h, :w].copy() for mask, (h, w) in zip(masks, sizes, strict=True)],
    )


def large_image(height: int, width: int) -> np.ndarray:
    """Return one image (height, width, 3) uint8."""
    return _nuclei(1, height, width).images[0].copy()


# -- estimators ----------------------------------------------------------------


def needs_masks(estimator: BaseEstimator) -> bool:
    """Whether the estimator's tags say that it cannot be fitted without y."""
    return bool(get_tags(estimator).target_tags.required)


def has_parameter(name: str) -> Callable[[BaseEstimator], bool]:
    """Return a test for a parameter of the estimator itself."""
    return lambda estimator: name in estimator.get_params(deep=False)


def parameter_names(estimator: BaseEstimator, name: str) -> list[str]:
    """Return the parameters of that name, those of parts included."""
    return [
        key
        for key in sorted(estimator.get_params(deep=True))
        if key == name or key.endswith(f"__{name}")
    ]


def fresh(estimator: BaseEstimator, **parameters: object) -> BaseEstimator:
    """Return an unfitted clone with seeds and the given parameters."""
    copied = clone(estimator)
    known = copied.get_params(deep=True)
    seeds = {
        name: 0
        for name in parameter_names(copied, "random_state")
        if known[name] is None
    }
    return copied.set_params(**seeds, **parameters)


def fit(estimator: BaseEstimator, images: Any, masks: Any) -> BaseEstimator:
    """Fit an estimator in place, with masks only where it cannot do without."""
    if needs_masks(estimator):
        return estimator.fit(images, masks)
    return estimator.fit(images)


def fitted(
    estimator: BaseEstimator,
    images: Any = None,
    masks: Any = None,
    **parameters: object,
) -> BaseEstimator:
    """Return a fitted clone with seeds and the given parameters."""
    if images is None:
        images, masks = image_array()
    return fit(fresh(estimator, **parameters), images, masks)


def methods_of(estimator: BaseEstimator) -> list[str]:
    """Return the names of the methods that answer for images."""
    return [name for name in METHODS if hasattr(estimator, name)]


def outputs(estimator: BaseEstimator, images: Any) -> dict[str, Images]:
    """Return what each method gives for `images`."""
    return {name: getattr(estimator, name)(images) for name in methods_of(estimator)}


def is_points(item: np.ndarray) -> bool:
    """Tell the points of one image, (n, 2 or 3) floats, from a mask or a map."""
    item = np.asarray(item)
    return item.ndim == 2 and item.shape[1] in (2, 3) and item.dtype.kind == "f"


def parts_of(estimator: object) -> Iterator[object]:
    """Yield an estimator and all the estimators that it holds."""
    yield estimator
    for value in list(vars(estimator).values()):
        yield from _parts_in(value)


def _parts_in(value: object) -> Iterator[object]:
    if isinstance(value, BaseEstimator):
        yield from parts_of(value)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parts_in(item)


def has_network(estimator: BaseEstimator) -> bool:
    """Whether the estimator or one of its parts has a network."""
    return bool(parameter_names(estimator, "network")) or bool(networks_of(estimator))


def networks_of(estimator: BaseEstimator) -> list:
    """Return the networks of a fitted estimator and of its parts."""
    return [part.network_ for part in parts_of(estimator) if hasattr(part, "network_")]


# -- comparisons ---------------------------------------------------------------


def require_equal(first: dict, second: dict, what: str) -> None:
    """Compare what `outputs` returned, bit for bit."""
    require(
        first.keys() == second.keys(),
        f"{what}: the methods {sorted(first)} became {sorted(second)}.",
    )
    for method, values in first.items():
        others = second[method]
        require(
            len(values) == len(others),
            f"{what}: {method} gave {len(values)} results, then {len(others)}.",
        )
        for index, (value, other) in enumerate(zip(values, others, strict=True)):
            value, other = np.asarray(value), np.asarray(other)
            if (
                value.dtype != other.dtype
                or value.shape != other.shape
                or not np.array_equal(value, other)
            ):
                raise AssertionError(
                    f"{what}: {method} of image {index} differs "
                    f"({_difference(value, other)})."
                )


def _difference(value: np.ndarray, other: np.ndarray) -> str:
    if value.shape != other.shape or value.dtype != other.dtype:
        return (
            f"shape {value.shape} and {other.shape}, dtype {value.dtype} and "
            f"{other.dtype}"
        )
    gap = np.abs(value.astype(float) - other.astype(float))
    return f"{np.mean(gap > 0):.1%} of the values, by up to {gap.max():.3g}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings about images that hold nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def raised_by(function: Callable[..., object], *arguments: object) -> str:
    """Return the message of the ValueError or TypeError that a call must raise."""
    try:
        with quiet():
            function(*arguments)
    except (ValueError, TypeError) as error:
        return str(error)
    raise AssertionError(f"{getattr(function, '__name__', function)} raised no error.")


def require_refused(
    estimator: BaseEstimator, bad: object, words: Sequence[str], what: str
) -> None:
    """Demand an error with all `words` from `fit` and from each method.

    `bad` takes the place of the images. A word may offer choices: ``"a|b"``.
    """
    images, masks = image_array()
    ready = fitted(estimator, images, masks)
    calls = {name: getattr(ready, name) for name in methods_of(ready)}
    unfitted = fresh(estimator)
    calls["fit"] = lambda X: fit(unfitted, X, list(masks)[: _length(X)])
    for name, call in calls.items():
        try:
            message = raised_by(call, bad)
        except AssertionError as error:
            raise AssertionError(f"{name} took {what} without an error.") from error
        for word in words:
            choices = word.split("|")
            require(
                any(choice.lower() in message.lower() for choice in choices),
                f"{name} refuses {what}, but its message does not say "
                f"{' or '.join(map(repr, choices))}: {message}",
            )


def _length(X: Any) -> int:
    return len(X) if hasattr(X, "__len__") else 1
