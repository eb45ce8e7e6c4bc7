# SPDX-License-Identifier: BSD-3-Clause
"""Trainings that go on where they were interrupted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real

from psmlearn.io._paths import as_path

__all__ = ["checkpoints"]


@contextmanager
def checkpoints(
    folder: str | os.PathLike[str], *, every: float = 60.0
) -> Iterator[None]:
    """Keep the state of trainings in a folder, and go on from what is there.

    Whatever estimator is fitted inside, alone, in a Pipeline or as part of a chain,
    writes the state of its network's training from time to time. Where the same
    training is begun again, after Ctrl-C, a kill or a loss of power, it goes on from
    the last state, and one that was done is not done again; on a CPU the result is
    that of an unbroken run, bit by bit. A training is the same if images, masks,
    parameters, seed and versions are: with ``random_state=None`` none is.

    Parameters
    ----------
    folder : str or path
        Made where it is missing. It may be removed when all is done; a state takes
        three to four times the size of the weights.
    every : float, default=60.0
        Seconds from one state to the next.

    Raises
    ------
    NotADirectoryError
        If `folder` is a file.
    ValueError
        If `every` is negative or no number.

    Notes
    -----
    It holds for trainings in this thread: those that joblib runs in other processes,
    as in a search with ``n_jobs=2``, keep no state. A pretext or loss of one's own
    that remembers something from batch to batch is not gone on with bit by bit.

    Examples
    --------
    >>> import tempfile
    >>> from psmlearn import NucleiSegmenter
    >>> from psmlearn.datasets import make_nuclei
    >>> from psmlearn.persistence import checkpoints
    >>> data = make_nuclei(n_images=2, shape=(64, 64), random_state=0)
    >>> model = NucleiSegmenter(
    ...     max_epochs=2, steps_per_epoch=1, patch_size=32, random_state=0
    ... )
    >>> with tempfile.TemporaryDirectory() as folder, checkpoints(folder):
    ...     model.fit(data.images, data.masks).n_epochs_
    2
    """
    from psmlearn._engine._checkpoint import Checkpoints, using_checkpoints

    path = as_path(folder)
    if os.path.exists(path) and not os.path.isdir(path):
        raise NotADirectoryError(f"{path!r} is a file; give a folder for checkpoints.")
    if isinstance(every, bool) or not isinstance(every, Real) or not every >= 0:
        raise ValueError(f"every must be a number of seconds, 0 or more, got {every!r}")
    with using_checkpoints(Checkpoints(path, float(every))):
        yield
