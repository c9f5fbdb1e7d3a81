# SPDX-License-Identifier: GPL-2.0-only
"""kbench: where on this machine and kernel should this packet work run?"""

__version__ = "0.1.0"
