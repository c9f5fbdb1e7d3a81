# SPDX-License-Identifier: GPL-2.0-only
"""What each command does. Joins the measuring and the explaining wing, which do not know of each other."""
