# SPDX-License-Identifier: GPL-2.0-only
"""Measuring on network cards: which ports, how they are cabled, on which machines, and holding them for a run."""
