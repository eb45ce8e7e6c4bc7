# SPDX-License-Identifier: BSD-3-Clause
"""The command line: one file a command.

``_options.py`` holds what commands share, ``_config.py`` parameters in a file,
``_chain.py`` goes from images to a trained chain, ``_training.py`` trains and predicts
in one, ``_work.py`` goes through the images of a run. ``_results.py`` says what a kind
of results is: ``_nuclei.py``, ``_weak_results.py``, and that of ``_maps.py``.
``_model_path.py`` goes to and from models, ``_image_labels.py`` reads image labels.
``_sources.py`` finds images, ``_outputs.py`` keeps the folder of results: what it will
hold is known, and checked, before any work; ``_ledger.py`` is the list by which own
files are told from those of others, ``_resume.py`` what a run is known by and goes on
from, ``_record.py`` what is told of it. ``_terminal.py`` says what happens.
"""

from __future__ import annotations

import click

import psmlearn
from psmlearn._cli._apply import apply
from psmlearn._cli._evaluate import evaluate
from psmlearn._cli._info import info
from psmlearn._cli._ki67 import ki67
from psmlearn._cli._maps import maps
from psmlearn._cli._report import report
from psmlearn._cli._segment import segment
from psmlearn._cli._train import train
from psmlearn._cli._weak import weak

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(psmlearn.__version__, prog_name="psmlearn")
def main() -> None:
    """Label-free nuclei segmentation for histology."""


for command in (segment, train, apply, ki67, maps, weak, evaluate, report, info):
    main.add_command(command)
