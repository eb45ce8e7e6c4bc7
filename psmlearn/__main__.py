# SPDX-License-Identifier: BSD-3-Clause
"""Run the command line: ``python -m psmlearn``."""

from psmlearn._cli import main

if __name__ == "__main__":
    main(prog_name="psmlearn")
