# SPDX-License-Identifier: GPL-2.0-only
"""The wing that produces results: plan, testbeds, datapaths, generators, probes, trials."""
