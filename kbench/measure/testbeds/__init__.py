# SPDX-License-Identifier: GPL-2.0-only
"""Ports and CPUs to measure on; one file per kind."""
