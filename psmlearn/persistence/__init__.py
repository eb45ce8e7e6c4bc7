# SPDX-License-Identifier: BSD-3-Clause
"""Fitted estimators in one file that runs no code when it is read."""

from psmlearn.persistence._checkpoints import checkpoints
from psmlearn.persistence._model_file import (
    ModelFileError,
    load_model,
    read_model_header,
    save_model,
)

__all__ = [
    "ModelFileError",
    "checkpoints",
    "load_model",
    "read_model_header",
    "save_model",
]
