# SPDX-License-Identifier: BSD-3-Clause
"""Fitted estimators in one file that runs no code when it is read."""

from psmlearn.persistence._model_file import load_model, save_model

__all__ = ["load_model", "save_model"]
