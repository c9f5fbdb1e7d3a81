# SPDX-License-Identifier: GPL-2.0-only
"""The measurement methods: which trials to make and what they mean, but nothing of how one is made."""
