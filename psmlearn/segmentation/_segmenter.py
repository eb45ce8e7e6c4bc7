# SPDX-License-Identifier: BSD-3-Clause
"""Segmentation of nuclei by a network trained on (pseudo) masks."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import numpy as np
import torch
from torch import nn

from psmlearn._images._instances import areas, relabel
from psmlearn._images._prominence import prominence
from psmlearn._images._sizes import NUCLEUS_DIAMETER, zoom_of_areas
from psmlearn._images._stains import optical_density, stain_amount
from psmlearn._sklearn_compat import Interval, StrOptions, _fit_context
from psmlearn._typing import Images, Masks, Path, PixelSize, RandomState
from psmlearn.base import (
    AREA,
    AT_LEAST_0,
    LENGTH,
    UNIT_RANGE,
    VALUE_RANGE,
    EarlyStopping,
    resolve_option,
)
from psmlearn.io._batch import ImageBatch, check_range
from psmlearn.segmentation._appearance import vary_channels, vary_stains
from psmlearn.segmentation._classes import ids_of
from psmlearn.segmentation._decoding import Decoding
from psmlearn.segmentation._detector import NucleiDetector
from psmlearn.segmentation._pixels import MaskSegmenter
from psmlearn.segmentation._targets import Distance, Targets, Voronoi

__all__ = ["NucleiSegmenter"]

_TARGETS: dict[str, type[Targets]] = {"distance": Distance, "voronoi": Voronoi}
# What the first stage has by the same name, but not of the same meaning.
_OF_ITS_OWN = {"targets", "threshold", "label_channel", "class_channel", "map_channel"}


class NucleiSegmenter(MaskSegmenter):
    """Find the outline of every nucleus with a network trained on masks.

    The masks may be pseudo masks: nothing here asks where they come from. With
    ``targets="distance"`` the network learns foreground and the inner distance of
    each object: touching nuclei are told apart along its valleys, so that each part
    comes near to an ellipse. With masks of shape (height, width, 2) it also learns the
    class of the nuclei, and all that it predicts has classes, and touching nuclei of
    two classes are told apart. With ``targets="voronoi"`` it is the two-stage training
    of [1]_: a detector learns the mask, its points give Voronoi labels, and the network
    learns both. For what is no nucleus, such as tumours, there is
    :class:`RegionSegmenter`.

    Parameters
    ----------
    network : str or callable, default="unet"
        "unet", "unet_in", "resunet34", or a factory ``f(in_channels, out_channels)``
        of a network whose output has the size of its input. Tiled prediction equals
        whole-image prediction with "unet"; "unet_in" judges by contrast within what it
        sees, for images that show a subject whole, no larger than `tile_size`.
    weights : str or path, default=None
        Weight file to start from, read without running code.
    targets : {"distance", "voronoi"}, Distance or Voronoi, default="distance"
        What the network learns: "distance"
        (:class:`~psmlearn.segmentation.Distance`), or "voronoi"
        (:class:`~psmlearn.segmentation.Voronoi`) with its defaults; an object has its
        own, such as ``Voronoi(weight=1.0)``.
    label_channel : int, default=None
        Channel of X that holds the masks to train on; y is ignored then.
    class_channel : int, default=None
        Channel of X that holds the classes of these masks.
    class_weight : {"sqrt", "balanced"}, dict or None, default="sqrt"
        How much the pixels of a class count in training, that nuclei of a rare one
        be found. "balanced" is the inverse of their number, "sqrt" the square root
        of that, both 1 on average; a dict gives weights by class, 1 to those that
        it leaves out.
    map_channel : {"drop", "input"} or int, default="drop"
        What becomes of the activation map in X. "drop": where `label_channel` is
        given, the last of two or four remaining channels is the map and is not an
        input of the network. "input": it is one. An int names the channel to drop.
    nucleus_diameter : float or "auto", default=5.0
        Typical diameter of a nucleus in micrometres, for splitting. "auto" looks it
        up in each image, and `min_area`, made for nuclei of 5.0, follows it.
    min_area : float, default=4.0
        Smaller objects are dropped, in square micrometres.
    threshold : float, default=0.5
        Foreground probability from which a pixel belongs to a nucleus.
    min_prominence : float, default=0.0
        Nuclei that stand out less are dropped: the geometric mean of a nucleus' area,
        contrast and steepness of outline in haematoxylin (with classes, in optical
        density), each by the usual one within some 15 diameters. 1 is usual.
    stain_jitter : float, default=1.0
        Strength of the variation of stains, or channels, in training; 0 for none.
    appearance_randomisation : float, default=0.5
        Share of the nuclei whose inside is made pale in training, so that vesicular
        nuclei are learnt from solid ones.
    value_range : tuple of two floats or None, default=(0.0, 1.0)
        Range of floats in X; any other range than [0, 1], such as (0, 4095), holds
        for integers as well. None takes any finite values, such as those of an MRI
        scan: each channel of an image is standardised by its median and quartiles
        within the subject, around which empty ground is left out. No channel is
        taken for a stain then, in training each varies by itself.
    max_epochs : int, default=20
        Epochs of training.
    steps_per_epoch : int, default=30
        Batches of random crops in an epoch.
    batch_size : int, default=8
        Crops in a batch.
    patch_size : int, default=224
        Side of the crops in pixels, a multiple of the network's stride.
    learning_rate : float, default=2e-3
        Peak of the one-cycle schedule.
    weight_decay : float, default=1e-4
        Of AdamW.
    early_stopping : bool or EarlyStopping, default=True
        Keep the weights that do best on images set aside, with their (pseudo)
        masks, and stop where they do no better; an
        :class:`~psmlearn.base.EarlyStopping` says how many and when.
    tile_size : int, default=1024
        Side of the tiles in prediction, in pixels; a halo is added.
    pixel_size : float, sequence of float or "file", default=0.25
        Micrometres per pixel: one for all, one per image, or read from the files.
    warm_start : bool, default=False
        Whether `fit` continues from the present weights.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1", "mps".
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the convolutions. "bfloat16" is faster on GPUs and on CPUs that
        have it; where it is slow, a warning says so.
    random_state : int, RandomState or None, default=None
        With an int the result is the same bit for bit on one machine, as long as
        torch has as many threads there.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    network_ : torch.nn.Module
        The trained network, on the CPU.
    n_features_in_ : int
        Channels of X in `fit`.
    n_epochs_ : int
        Epochs done.
    loss_curve_, validation_loss_curve_ : list of float
        Losses by epoch.
    best_loss_ : float
        Lowest loss: of validation with early stopping, else of training.
    device_ : str
        Where the training ran.
    classes_ : ndarray of shape (n_classes,) or None
        The classes of the nuclei, ascending; None where the masks had none.
    detector_ : NucleiDetector
        The first stage of "voronoi".

    References
    ----------
    .. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023.

    Examples
    --------
    >>> from psmlearn import NucleiSegmenter
    >>> from psmlearn.datasets import make_nuclei
    >>> data = make_nuclei(n_images=2, shape=(64, 64), n_nuclei=8, random_state=0)
    >>> segmenter = NucleiSegmenter(max_epochs=1, steps_per_epoch=2, patch_size=32,
    ...                             batch_size=2, random_state=0)
    >>> segmenter.fit(data.images, data.masks).predict(data.images).shape
    (2, 64, 64)
    """

    _stage = "training the segmenter"
    _parameter_constraints: dict = {
        **MaskSegmenter._parameter_constraints,
        "targets": [StrOptions(set(_TARGETS)), Distance, Voronoi],
        "value_range": VALUE_RANGE,
        "nucleus_diameter": [
            LENGTH,
            StrOptions({"auto"}),
        ],
        "min_area": [AREA],
        "min_prominence": [AT_LEAST_0],
        "stain_jitter": [AT_LEAST_0],
        "appearance_randomisation": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        *,
        network: str | Callable[..., nn.Module] = "unet",
        weights: Path | None = None,
        targets: str | Targets = "distance",
        label_channel: int | None = None,
        class_channel: int | None = None,
        class_weight: str | dict | None = "sqrt",
        map_channel: str | int = "drop",
        nucleus_diameter: float | str = 5.0,
        min_area: float = 4.0,
        threshold: float = 0.5,
        min_prominence: float = 0.0,
        stain_jitter: float = 1.0,
        appearance_randomisation: float = 0.5,
        value_range: tuple[float, float] | None = UNIT_RANGE,
        max_epochs: int = 20,
        steps_per_epoch: int = 30,
        batch_size: int = 8,
        patch_size: int = 224,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-4,
        early_stopping: bool | EarlyStopping = True,
        tile_size: int = 1024,
        pixel_size: PixelSize = 0.25,
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "float32",
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            network=network,
            weights=weights,
            label_channel=label_channel,
            class_channel=class_channel,
            class_weight=class_weight,
            map_channel=map_channel,
            threshold=threshold,
            max_epochs=max_epochs,
            steps_per_epoch=steps_per_epoch,
            batch_size=batch_size,
            patch_size=patch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            early_stopping=early_stopping,
            tile_size=tile_size,
            pixel_size=pixel_size,
            warm_start=warm_start,
            device=device,
            precision=precision,
            random_state=random_state,
            verbose=verbose,
        )
        self.targets = targets
        self.nucleus_diameter = nucleus_diameter
        self.min_area = min_area
        self.min_prominence = min_prominence
        self.stain_jitter = stain_jitter
        self.appearance_randomisation = appearance_randomisation
        self.value_range = value_range

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Images, y: Masks | None = None) -> NucleiSegmenter:
        """Train on images and masks.

        Parameters
        ----------
        X : array of shape (n_images, height, width, n_channels) or list
            Images, or stacks with the masks in `label_channel`.
        y : array or list of ndarray of shape (height, width[, 2]), default=None
            Label images: 0 background, ids from 1, -1 unknown; arrays or paths. The
            second plane holds the classes, from 1; an object of class 0 is learnt as
            nucleus of unknown class. Ignored where `label_channel` is given.

        Returns
        -------
        self : NucleiSegmenter

        Raises
        ------
        ValueError
            If images or masks are not what was expected; before training.
        FloatingPointError
            If training goes astray: a loss or a weight is not finite. The segmenter
            is then as it was before.
        """
        targets = resolve_option(self.targets, _TARGETS)
        value_range = check_range(self.value_range)
        self._refuse_prominence(value_range)
        self._fit_pixels(
            X, y, targets, value_range=value_range, continued=self._continues()
        )
        return self

    def _vary(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        distance: torch.Tensor,
        further: list[torch.Tensor],
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        vary = vary_channels if self.value_range is None else vary_stains
        images = vary(
            images,
            labels,
            distance,
            strength=self.stain_jitter,
            share=self.appearance_randomisation,
            generator=generator,
        )
        return images, labels, further

    # -- what the two-stage training asks for ----------------------------------

    def _first_stage(self) -> NucleiDetector:
        """Return a detector with the training parameters of this segmenter."""
        shared = self.get_params(deep=False)
        own = set(_OF_ITS_OWN)
        if self.nucleus_diameter == "auto":
            own.add("nucleus_diameter")
        if self.value_range is None:
            shared["stain_jitter"] = 0.0  # channels of any kind are no stains
        names = set(NucleiDetector._get_param_names()) & set(shared) - own
        return NucleiDetector(**{name: shared[name] for name in names})

    def _pictures(self, images: ImageBatch) -> ImageBatch | list[np.ndarray]:
        """Return what a detector sees: the channels of the network, in [0, 1]."""
        channels = self._input_channels(images.n_channels)
        if len(channels) < images.n_channels or self.value_range is None:
            # It gets images standardised already.
            return [np.ascontiguousarray(image[..., channels]) for image in images]
        return images

    def _decode(self, output: np.ndarray, pixel_size: float) -> np.ndarray:
        return self._decoding(pixel_size).read_image(output)

    def _decoding(self, pixel_size: float) -> Decoding:
        """Return what nuclei are read by from the network's answer."""
        return Decoding(
            self._frozen.targets,
            classes=self.classes_,
            threshold=self.threshold,
            nucleus_diameter=self.nucleus_diameter,
            min_area=self.min_area,
            pixel_size=pixel_size,
        )

    def _without_doubtful(
        self, mask: np.ndarray, images: ImageBatch, index: int, pixel_size: float
    ) -> np.ndarray:
        """Drop nuclei that do not stand out in the image."""
        ids = ids_of(mask)
        if not self.min_prominence or not ids.any():
            return mask
        self._refuse_prominence(self._frozen.value_range)
        height = self._stain(images[index])
        diameter = self._usual_diameter(areas(ids), pixel_size)
        found = prominence(ids, height, diameter=diameter)
        kept = np.append(False, found >= self.min_prominence)
        mask = np.where(kept[ids] if mask.ndim == 2 else kept[ids][..., None], mask, 0)
        if mask.ndim == 2:
            return relabel(mask)
        mask[..., 0] = relabel(mask[..., 0])
        return mask

    def _stain(self, image: np.ndarray) -> np.ndarray:
        """Return what nuclei stand out in, (height, width) float32."""
        light = image[..., self._frozen.channels]
        if self.classes_ is None:
            return stain_amount(light)
        return optical_density(light).mean(axis=-1)

    def _usual_diameter(self, sizes: np.ndarray, pixel_size: float) -> float:
        """Return the diameter in pixels of nuclei of so many pixels."""
        diameter = self.nucleus_diameter
        if diameter == "auto":
            diameter = NUCLEUS_DIAMETER * zoom_of_areas(sizes, pixel_size)
        return float(diameter) / pixel_size

    def _refuse_prominence(self, value_range: tuple[float, float] | None) -> None:
        if self.min_prominence and value_range is None:
            raise ValueError(
                f"{type(self).__name__}: min_prominence={self.min_prominence} looks at "
                "the stain, which images of any range (value_range=None) do not tell; "
                "set min_prominence=0, or a value_range."
            )
