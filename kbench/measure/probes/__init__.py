# SPDX-License-Identifier: GPL-2.0-only
"""What is watched during a trial; one file per kind."""
