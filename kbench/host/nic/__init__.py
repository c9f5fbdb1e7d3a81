# SPDX-License-Identifier: GPL-2.0-only
"""Ports of a machine (NICs, veth): what they are set to, lending them to a run, and putting them back."""
