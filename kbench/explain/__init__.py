# SPDX-License-Identifier: GPL-2.0-only
"""The wing that reads results: it never touches the machine."""
