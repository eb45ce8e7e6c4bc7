# SPDX-License-Identifier: BSD-3-Clause
"""Self-activation maps: images in, images with a map as further channel out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np

from psmlearn._sklearn_compat import _fit_context
from psmlearn.activation._fitting import PretextMapper

__all__ = ["SelfActivationMapper"]


class SelfActivationMapper(PretextMapper, auto_wrap_output_keys=None):
    """Maps of where a network that trained itself on the images looks.

    A network learns a pretext task on random crops of unlabelled images. The
    gradient of its output by the features of a shallow layer weighs these features
    into a map (Grad-CAM), which is high on nuclei and on one scale for all images.

    Parameters
    ----------
    network : str or callable, default="resnet18"
        "resnet18", "resnet34", "resnet50", "res2net101_26w_4s", or a factory
        ``f(in_channels, n_outputs)`` or ``f(in_channels)`` of a torch module.
    weights : str or path, default=None
        File of weights to start from: ``.safetensors``, or a torch file of tensors,
        with the names of timm and torchvision. None starts at random.
    pretext : {"mean_value", "similarity", "contrastive", "rotation", "simsiam"}, \
            default="mean_value"
        "mean_value": regress the mean `target` of a crop. "similarity": two views
        of a crop shall have similar embeddings. "contrastive": more similar than
        other crops by `margin`. "rotation": tell by how many quarter turns a crop
        was turned. "simsiam": predict one view's embedding from the other.
    target : {"haematoxylin", "grey"}, default="haematoxylin"
        What "mean_value" regresses: the haematoxylin optical density (of images
        that have not three channels, the density of their mean), or the mean grey;
        of the crop before augmentation.
    layers : str or list of str, default="layer1"
        Modules of the network whose features are mapped; maps of several are
        averaged. Later stages are coarser.
    method : {"gradcam", "layercam", "gradcam++", "eigencam"}, default="gradcam"
        How features and gradients make a map; "eigencam" takes features alone.
    output : {"stack", "maps"}, default="stack"
        Whether `transform` gives the images with the map last, or maps alone.
    loss : {"auto", "l1", "mse"}, default="auto"
        "auto" is the sound loss of the pretext; the others are literal, see Notes.
    embedding_dim : int, default="auto"
        Outputs of the network: by default 1 to regress, 4 for turns, else 128.
    margin : float, default="auto"
        Of "contrastive": 0.5 of cosine distance, with ``loss="mse"`` 10.
    variance_weight : float, default=1.0
        Of "similarity": weight of the hinge on the embeddings' spread.
    train_heads : bool, default=True
        Whether projection and prediction heads are trained.
    crop : {"random", "center"}, default="random"
        Whether crops are cut anywhere or from the middle of each image.
    augment : bool, default=True
        Flips, quarter turns and stain jitter. Without, the second view of a crop
        is its half turn ("simsiam": a random turn).
    input_scale : {"standard", "unit", "byte"}, default="standard"
        Standardised by channel, [0, 1] or [0, 255]. Targets of "mean_value" are
        standardised, or in units of the input.
    map_input_scale : {"standard", "unit", "byte"}, default=None
        Scale for mapping; None is `input_scale`.
    output_unit : int or "principal", default="principal"
        Which output is differentiated; "principal" is the direction along which
        the outputs of training crops vary most.
    channel_weights : {"fit", "image"}, default="fit"
        Whether gradients are averaged over training crops once, so that
        `transform` needs the first layers only, or over each image. Not for
        "layercam", which has none.
    scale : {"fit", "image"}, default="fit"
        Whether 0 and 1 are the 1st and 99th percentiles of the maps of training
        crops, or each image's extremes (then empty images look full).
    polarity : {"auto", "haematoxylin", "dark", "bright"}, default="auto"
        The sign of a map is chosen to correlate with this over training pixels:
        "auto" is haematoxylin with three channels, else darkness. None leaves it.
    max_epochs, steps_per_epoch, batch_size : int, default=5, 30 and 8
        An epoch is `steps_per_epoch` batches of `batch_size` crops.
    patch_size : int, default=128
        Side of the crops in pixels.
    learning_rate, weight_decay : float, default=3e-4 and 1e-4
        Of AdamW.
    schedule : {"one_cycle", "constant"}, default="one_cycle"
        Course of the learning rate.
    max_gradient_norm : float, default=5.0
        Longer gradients are shortened to it; None leaves them.
    early_stopping : bool, default=False
        Stop, and keep the best weights, by the loss on crops of held-out images.
    validation_fraction : float, default=0.1
        Share of the images held out; where that is none, all serve both.
    n_iter_no_change, tol : int and float, default=10 and 1e-4
        Epochs without a gain of `tol` after which training stops.
    tile_size : int, default=1024
        Side in pixels of the tiles of large images.
    pixel_size : float, default=0.25
        Not used: all lengths here are in pixels. Kept for all network estimators.
    warm_start : bool, default=False
        Whether `fit` goes on from the last weights.
    device : str, default="auto"
        "cpu", "cuda", "mps" or the fastest there is.
    precision : {"float32", "bfloat16"}, default="float32"
        Of convolutions.
    random_state : int, RandomState or None, default=None
        The same int gives the same bits on the same machine.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    network_ : torch.nn.Module
        Its `backbone` is the network; maps are made of the modules of that.
    layers_ : list of str
    polarity_ : ndarray of shape (n_layers,)
        1 or -1, what each layer's map was multiplied with.
    channel_weights_ : list of ndarray of shape (n_features,)
        For each layer, averaged over training crops; empty for "layercam".
    map_ranges_ : ndarray of shape (n_layers, 2)
        What becomes 0 and 1.
    loss_curve_, validation_loss_curve_ : list of float
        By epoch.
    best_loss_ : float
    n_epochs_ : int
    n_features_in_ : int
        Channels of the images.
    device_ : str
        Where it was trained.

    Notes
    -----
    The sign follows a stain or darkness, never a label: nuclei are what takes up
    haematoxylin. Upright and turned tissue look alike, so "rotation" has little to
    learn from histology. Beside images and result, `transform` takes 4 bytes for
    each layer and cell of a map (1 in 16 pixels for "layer1") and the network's
    memory for 1 Mpixel or one tile.

    The published reference code [1]_ is reached by parameters::

        paper = dict(
            network="res2net101_26w_4s", layers=["layer1.0", "layer1.1", "layer1.2"],
            crop="center", patch_size=512, augment=False, batch_size=4,
            input_scale="byte", map_input_scale="unit", output_unit=0,
            channel_weights="image", scale="image", polarity=None,
            learning_rate=1e-4, weight_decay=0, schedule="constant",
            max_gradient_norm=None, max_epochs=100, steps_per_epoch=7,
        )
        similarity = dict(pretext="similarity", loss="l1", batch_size=1,
                          steps_per_epoch=27)
        contrastive = dict(pretext="contrastive", loss="mse", margin=10.0)
        rotation = dict(pretext="rotation", loss="mse", embedding_dim=1000)
        simsiam = dict(pretext="simsiam", loss="l1", embedding_dim=1000,
                       train_heads=False)
        mean_value = dict(pretext="mean_value", loss="l1", target="grey")
        SelfActivationMapper(**{**paper, **similarity})

    with `steps_per_epoch` for 30 images. It maps centre crops: pass these.

    References
    ----------
    .. [1] P. Chen et al., "Exploring Unsupervised Cell Recognition with Prior
       Self-activation Maps", MICCAI 2023, arXiv:2308.11144.

    Examples
    --------
    >>> from psmlearn import SelfActivationMapper
    >>> from psmlearn.datasets import make_nuclei
    >>> images = make_nuclei(n_images=2, shape=(96, 96), random_state=0).images
    >>> mapper = SelfActivationMapper(
    ...     max_epochs=1, steps_per_epoch=1, patch_size=32, random_state=0)
    >>> mapper.fit_transform(images).shape
    (2, 96, 96, 4)
    """

    def __init__(
        self,
        *,
        network: str | Callable = "resnet18",
        weights: str | os.PathLike | None = None,
        pretext: str = "mean_value",
        target: str = "haematoxylin",
        layers: str | Sequence[str] = "layer1",
        method: str = "gradcam",
        output: str = "stack",
        loss: str = "auto",
        embedding_dim: int | str = "auto",
        margin: float | str = "auto",
        variance_weight: float = 1.0,
        train_heads: bool = True,
        crop: str = "random",
        augment: bool = True,
        input_scale: str = "standard",
        map_input_scale: str | None = None,
        output_unit: str | int = "principal",
        channel_weights: str = "fit",
        scale: str = "fit",
        polarity: str | None = "auto",
        max_epochs: int = 5,
        steps_per_epoch: int = 30,
        batch_size: int = 8,
        patch_size: int = 128,
        learning_rate: float = 3e-4,
        weight_decay: float = 1e-4,
        schedule: str = "one_cycle",
        max_gradient_norm: float | None = 5.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        tile_size: int = 1024,
        pixel_size: float | Sequence[float] | str = 0.25,
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "float32",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.network = network
        self.weights = weights
        self.pretext = pretext
        self.target = target
        self.layers = layers
        self.method = method
        self.output = output
        self.loss = loss
        self.embedding_dim = embedding_dim
        self.margin = margin
        self.variance_weight = variance_weight
        self.train_heads = train_heads
        self.crop = crop
        self.augment = augment
        self.input_scale = input_scale
        self.map_input_scale = map_input_scale
        self.output_unit = output_unit
        self.channel_weights = channel_weights
        self.scale = scale
        self.polarity = polarity
        self.max_epochs = max_epochs
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.patch_size = patch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.max_gradient_norm = max_gradient_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.tile_size = tile_size
        self.pixel_size = pixel_size
        self.warm_start = warm_start
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    # -- fitting ---------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None) -> SelfActivationMapper:
        """Train on crops of the images and put the maps on one scale.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths; one is enough.
        y : object, default=None
            Ignored: no label is used.

        Returns
        -------
        SelfActivationMapper
            The mapper itself.

        Raises
        ------
        ValueError
            If images, parameters or the device are bad; before any training.
        KeyboardInterrupt
            Raised on, with the mapper usable with the weights so far.
        """
        return self._fit(X, continued=self._continues())

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None) -> SelfActivationMapper:
        """Train for one epoch on the given images, at a constant learning rate.

        The first call starts a network and learns the scale of its input, later
        ones go on with both. Maps are put on the scale of the images of the call.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width, n_channels) or list
            Images as arrays or paths.
        y : object, default=None
            Ignored.

        Returns
        -------
        SelfActivationMapper
            The mapper itself.
        """
        return self._fit(
            X,
            continued=hasattr(self, "network_"),
            max_epochs=1,
            schedule="constant",
            early_stopping=False,
        )
