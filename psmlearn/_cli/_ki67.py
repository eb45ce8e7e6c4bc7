# SPDX-License-Identifier: BSD-3-Clause
"""``psmlearn ki67``: positive and negative nuclei, and the labelling index."""

from __future__ import annotations

from typing import Any

import click

from psmlearn._cli import _chain
from psmlearn._cli._options import (
    images_options,
    make_training,
    model_option,
    output_options,
    pixel_size_option,
    run_options,
    training_options,
)
from psmlearn._cli._segment import run_segment
from psmlearn._cli._slides import fields_options, workers_options

__all__ = ["ki67"]


@click.command()
@images_options
@output_options
@training_options(with_classes=False)
@fields_options
@workers_options
@pixel_size_option(else_=str(_chain.PIXEL_SIZE))
@model_option(required=False, help="Keep the trained model in this file, too.")
@run_options
def ki67(**options: Any) -> None:
    """Count positive (brown) and negative (blue) nuclei in IMAGES of Ki-67 stain.

    Trained on them without labels: the stain names the classes. It is `psmlearn segment
    --classes ki67`. For each image it writes an overlay in two colours, the label image
    with the class as second sample, the table of nuclei with their mean amounts of
    haematoxylin and DAB, their points, and outlines for QuPath; for all of them
    labelling_index.csv: the share of positive nuclei with its interval, H-score and
    Allred score, by image and overall.

    Of whole slides fields of tissue are trained on, and each slide is segmented in
    bounded memory, with an index of its own; see `psmlearn apply`.

    All nuclei of the image count, where a pathologist counts tumour cells; how brown a
    nucleus must be is a convention. For research use only.

    \b
    Examples:
      psmlearn ki67 fields/ --pixel-size 0.25 --output index/
      psmlearn ki67 fields/ --model ki67.psm --output index/
      psmlearn ki67 slides/*.svs --model ki67.psm --output index/
      psmlearn apply more-fields/ --model ki67.psm --output index2/
    """
    run_segment("ki67", make_training(options, classes="ki67"), **options)
