# SPDX-License-Identifier: BSD-3-Clause
"""Checks of what third parties write: pretexts, and labelers, functions among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from psmlearn.io import check_images, check_masks
from psmlearn.utils._check_tools import image_array, image_list, require

if TYPE_CHECKING:
    import torch

    from psmlearn.activation import Pretext

__all__ = ["check_labeler", "check_pretext"]

_SETTINGS: dict[str, Any] = {
    "max_epochs": 1,
    "steps_per_epoch": 2,
    "batch_size": 4,
    "patch_size": 32,
    "device": "cpu",
    "random_state": 0,
}


def _make_backbone(in_channels: int, n_outputs: int) -> torch.nn.Module:
    """Make a few channels with a stage named layer1."""
    from torch import nn

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            convolution = nn.Conv2d(in_channels, 8, 3, stride=2, padding=1)
            self.layer1 = nn.Sequential(convolution, nn.ReLU())
            self.fc = nn.Linear(8, n_outputs)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.fc(self.layer1(images).mean(dim=(2, 3)))

    return Backbone()


def check_pretext(pretext: Pretext) -> None:
    """Check that a pretext keeps the contract of :class:`SelfActivationMapper`.

    Its parameters survive `clone`; targets are one finite number a patch or None; the
    loss is a finite scalar that depends on the network, is the same for the same
    generator and leaves torch's global stream alone; and a mapper trains with it, twice
    the same.

    Parameters
    ----------
    pretext : Pretext
        With its parameters; it is copied, never changed.

    Raises
    ------
    AssertionError
        If the contract is broken; what, and where, is told.

    Examples
    --------
    >>> from psmlearn.activation import Contrastive
    >>> from psmlearn.utils.estimator_checks import check_pretext
    >>> check_pretext(Contrastive(margin=0.3))
    """
    from psmlearn.activation import Pretext, SelfActivationMapper

    name = type(pretext).__name__
    require(
        isinstance(pretext, Pretext),
        f"{name} is no psmlearn.activation.Pretext: make it a subclass.",
    )
    copied = clone(pretext)
    require(
        repr(copied) == repr(pretext),
        f"{name}: clone gives {copied!r}, not {pretext!r}; __init__ must store its "
        "parameters under their names, unchanged.",
    )
    copied.check(4)
    n_outputs = copied.n_outputs
    require(
        isinstance(n_outputs, int | np.integer) and n_outputs >= 1,
        f"{name}.n_outputs is {n_outputs!r}; expected a whole number from 1 on.",
    )
    images, _ = image_array(4)
    patches = (images[:, :32, :32] / 255).astype(np.float32)
    targets = _checked_targets(copied, patches, name)
    _check_loss(copied, patches, targets, name)
    curves = []
    for _ in range(2):
        mapper = SelfActivationMapper(
            network=_make_backbone, pretext=clone(pretext), **_SETTINGS
        )
        stacks = mapper.fit(images).transform(images)
        require(np.isfinite(stacks).all(), f"{name}: maps are not finite.")
        curves.append(mapper.loss_curve_)
    require(
        curves[0] == curves[1],
        f"{name}: two trainings with one seed differ ({curves}); draw all that is "
        "random from the generator that loss is given.",
    )


def _checked_targets(pretext: Pretext, patches: np.ndarray, name: str) -> torch.Tensor:
    """Check what is told from patches; return it as a mapper hands it on."""
    import torch

    before = patches.copy()
    values = pretext.targets(patches)
    require(np.array_equal(patches, before), f"{name}.targets writes to the patches.")
    if values is None:
        return torch.zeros(len(patches))
    array = np.asarray(values, np.float32)
    require(
        array.shape == (len(patches),) and np.isfinite(array).all(),
        f"{name}.targets gives shape {array.shape} for {len(patches)} patches; "
        "expected one finite number each, or None.",
    )
    return torch.from_numpy(array)


def _check_loss(
    pretext: Pretext, patches: np.ndarray, targets: torch.Tensor, name: str
) -> None:
    """Check the loss of a batch."""
    import torch

    from psmlearn.activation._pretexts import PretextNetwork

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PretextNetwork(_make_backbone, 3, pretext.n_outputs, pretext.heads)
        stream = torch.random.get_rng_state()
        crops = torch.from_numpy(patches).permute(0, 3, 1, 2)
        losses = [
            pretext.loss(network, crops, targets, torch.Generator().manual_seed(3))
            for _ in range(2)
        ]
        kept = torch.equal(stream, torch.random.get_rng_state())
    loss = losses[0]
    require(
        isinstance(loss, torch.Tensor)
        and loss.ndim == 0
        and bool(torch.isfinite(loss)),
        f"{name}.loss gives {loss!r}; expected a finite scalar tensor.",
    )
    require(
        torch.equal(losses[0], losses[1]) and kept,
        f"{name}.loss draws from torch's global stream, or keeps a state: the same "
        "generator must give the same loss.",
    )
    require(loss.requires_grad, f"{name}.loss does not depend on the network.")


def check_labeler(labeler: Any) -> None:
    """Check that a labeler, or a plain function, can teach a segmenter.

    Its masks are label images of the images' sizes, the same for the same images,
    whether these come as an array or as a list of several sizes, and it leaves the
    images as they were. Estimators are checked further by `check_image_estimator`.

    Parameters
    ----------
    labeler : estimator or callable
        What `PseudoLabelSegmenter` takes: ``fit`` and ``predict``, or a function of a
        list of images, each (height, width, 3) float32 in [0, 1], that returns a label
        image of each.

    Raises
    ------
    AssertionError
        If masks differ from call to call, or images were written to.
    ValueError, TypeError
        If the masks are no label images, or do not fit the images.

    Examples
    --------
    >>> from skimage.measure import label
    >>> from psmlearn.utils.estimator_checks import check_labeler
    >>> check_labeler(lambda images: [label(x[..., 0] < 0.5) for x in images])
    """
    from psmlearn.segmentation._labelers import FunctionLabeler, as_labeler, fit_labeler

    name = getattr(labeler, "__name__", type(labeler).__name__)
    for given in (image_array(3)[0], image_list()[0]):
        batch = check_images(given)
        made = as_labeler(labeler)
        to_give = batch if isinstance(made, FunctionLabeler) else given
        before = [np.array(image) for image in given]
        masks = check_masks(fit_labeler(made, to_give, None), batch, caller=name)
        require(
            all(np.array_equal(a, b) for a, b in zip(given, before, strict=True)),
            f"{name} writes to the images that it is given.",
        )
        again = check_masks(made.predict(to_give), batch, caller=name)
        require(
            all(np.array_equal(a, b) for a, b in zip(masks, again, strict=True)),
            f"{name}: masks of the same images differ from call to call.",
        )
