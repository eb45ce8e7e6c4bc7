# SPDX-License-Identifier: BSD-3-Clause
"""The command line: ``psmlearn segment``, ``train``, ``apply``, ``evaluate``,
``report``, ``info``.

``_options.py`` holds what they share, ``_chain.py`` goes from images to a trained
chain, ``_results.py`` from a chain to files, ``_model_path.py`` to and from models.
``_sources.py`` finds images, ``_outputs.py`` keeps the folder of results: what it will
hold is known, and checked, before any work; ``_ledger.py`` is the list by which own
files are told from those of others. ``_terminal.py`` says what happens.
"""

from __future__ import annotations

import click

import psmlearn
from psmlearn._cli._apply import apply
from psmlearn._cli._evaluate import evaluate
from psmlearn._cli._info import info
from psmlearn._cli._report import report
from psmlearn._cli._segment import segment
from psmlearn._cli._train import train

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(psmlearn.__version__, prog_name="psmlearn")
def main() -> None:
    """Label-free nuclei segmentation for histology."""


for command in (segment, train, apply, evaluate, report, info):
    main.add_command(command)
