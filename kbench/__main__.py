# SPDX-License-Identifier: GPL-2.0-only
"""`python -m kbench` is `kbench`."""

import sys

from kbench.cli import main

sys.exit(main())
