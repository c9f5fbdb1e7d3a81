# SPDX-License-Identifier: GPL-2.0-only
"""Machines to work on, and what is done to them."""
