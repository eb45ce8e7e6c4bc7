# SPDX-License-Identifier: BSD-3-Clause
"""From label images to tables of nuclei."""

from psmlearn.measure._table import nuclei_table

__all__ = ["nuclei_table"]
