# SPDX-License-Identifier: GPL-2.0-only
"""Routes and rules, read or generated; the image; and the reference model that decides what is correct."""
