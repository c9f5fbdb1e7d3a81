# SPDX-License-Identifier: GPL-2.0-only
"""The profile rfc2544: what RFC 2544 asks for, with sections, and what this testbed can't claim of it.

Sections are those of RFC 2544 (1999) unless another RFC is named; RFC 9004 (2021) updates 26.4.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kbench.errors import UsageError
from kbench.measure.methods.goals import Goal, ndr_and_pdr, rfc2544_throughput
from kbench.measure.methods.loads import LATENCY_SHARES
from kbench.measure.plan import Options
from kbench.model import Part

RFC2544 = "rfc2544"
ETHERNET_FRAME_BYTES = (64, 128, 256, 512, 1024, 1280, 1518)
"""Section 9.1."""
RESIDUAL_S, RESTABILIZE_S = 2.0, 5.0
"""Section 23: waits after each trial, for frames that are still on their way and for the DUT."""
SUM_OF_TRIALS = 7
SEARCH_WIDTH = 0.01
"""Without a profile a search goal's duration sum, in final trials, and its width. On simulated systems 21 trials and
0.5 % find the rate in 19 of 20 searches; on a shared machine that takes 300 trials a search, and searches differ by
more than that. So each is shorter and coarser, and the interval comes from several, on topologies built anew."""

_RUN: dict[str, Any] = {
    "methods": ("throughput", "latency", "loss-curve", "back-to-back"),
    "functions": ("forward",),
    "rules": (1, 25),
    "routes": (256,),
    "flows": 256,
    "frame_bytes": ETHERNET_FRAME_BYTES,
    "trial_s": 60.0,
    "settle_s": RESIDUAL_S + RESTABILIZE_S,
}
_BY_METHOD: dict[str, dict[str, Any]] = {
    "latency": {"trial_s": 120.0, "repeats": 20},
    "back-to-back": {"repeats": 50, "settle_s": 2.0},
}
"""Section 26.2; section 26.4 and, for the wait after a burst, RFC 9004, section 6.2."""

SECTIONS: dict[str, str] = {
    "max": "RFC 2889, 5.6",
    "throughput": "RFC 2544, 26.1",
    "loss-curve": "RFC 2544, 26.3",
    "latency": "RFC 2544, 26.2",
    "back-to-back": "RFC 2544, 26.4; RFC 9004, 6",
    "cpu-at-load": "kbench's own",
}
"""By method the text that it follows."""


@dataclass(frozen=True)
class Ask:
    """One thing that RFC 2544 asks for, and what becomes of it here."""

    section: str
    what: str
    done: Literal["yes", "in part", "no"]
    here: str


ASKS = (
    Ask("9.1", "Ethernet frames of 64 to 1518 bytes", "yes", "64, 128, 256, 512, 1024, 1280, 1518, with FCS"),
    Ask("11.4", "1 and 25 filters", "yes", "with --function forward,filter: tables of 1 and of 25 rules"),
    Ask("12", "one pair of addresses first, then 256 networks at random", "in part",
        "256 flows over 256 routes; the single pair is a run of its own, with --flows 1"),
    Ask("13", "routes announced by a routing protocol", "no", "tables are loaded before the traffic"),
    Ask("14", "traffic in both directions", "no", "the testbed has one direction"),
    Ask("15", "one port in, one port out", "yes", "so is the testbed"),
    Ask("16", "several ports", "no", "the testbed has two"),
    Ask("20", "the medium's maximum frame rate", "no", "veth has none: the generator's ceiling stands for it"),
    Ask("21", "bursts of 16 to 1024 frames within the load", "no", "loads are spread evenly"),
    Ask("23", "2 s for residual frames, 5 s for the DUT to restabilize", "yes",
        "counters are read when they stand still, then 7 s pass; 2 s after a burst (RFC 9004, 6.2)"),
    Ask("24", "trials of at least 60 s; a search may use shorter ones before its last", "yes",
        "1 s, growing to 60 s near the answer; steps of a loss curve 60 s"),
    Ask("25", "address resolution", "no", "neighbours are set beforehand, so that no ARP is in the trials"),
    Ask("26.1", "throughput: the highest rate without any loss", "yes",
        "one trial of 60 s without loss; and PDR, which the RFC doesn't know"),
    Ask("26.2", "latency at the throughput rate, 120 s, 20 times", "in part",
        "all frames are stamped, not one after 60 s; percentiles in place of an average"),
    Ask("26.3", "frame loss rate from 100 % in steps of 10 %", "yes", "100 % is the generator's ceiling"),
    Ask("26.4", "back-to-back frames, up to 2 s, 50 times", "yes", "with RFC 9004's corrected buffer time"),
    Ask("26.5", "system recovery", "no", "it needs a change of load within a trial"),
    Ask("26.6", "reset (RFC 6201)", "no", "DUT and tester are one machine: a reset would end both"),
)  # fmt: skip
"""What `rfc2544` follows and what not, by section."""


def apply(options: Options, given: frozenset[str]) -> Options:
    """The options with what their profile asks for, except for the fields that the user has `given`.

    `given` holds names of fields of `Options`. Lengths and repeats that differ by method are `for_method`'s.
    Raises UsageError for an unknown profile.
    """
    if options.profile is None:
        return options
    if options.profile != RFC2544:
        raise UsageError(f"unknown profile {options.profile!r}: choose {RFC2544}")
    wanted = {name: value for name, value in _RUN.items() if name not in given}
    if "rules_file" in given:
        wanted.pop("rules", None)
    if "routes_file" in given:
        wanted.pop("routes", None)
    return dataclasses.replace(options, **wanted)


def for_method(options: Options, method: str, given: frozenset[str]) -> Options:
    """The options of one method of a run: lengths, repeats and pauses that its own section asks for."""
    if options.profile != RFC2544:
        return options
    asked = _BY_METHOD.get(method, {})
    return dataclasses.replace(options, **{name: v for name, v in asked.items() if name not in given})


def goals(options: Options) -> tuple[Goal, ...]:
    """What `throughput` searches for: "ndr" and "pdr", by the profile's rule or kbench's own (medians)."""
    if options.profile != RFC2544:
        total_s = SUM_OF_TRIALS * options.trial_s
        return ndr_and_pdr(options.trial_s, total_s, SEARCH_WIDTH, options.pdr_loss)
    strict = rfc2544_throughput(options.trial_s)
    return (
        dataclasses.replace(strict, name="ndr"),
        dataclasses.replace(strict, name="pdr", loss_ratio=options.pdr_loss),
    )


def latency_shares(options: Options) -> tuple[float, ...]:
    """Shares of a path's own rate at which `latency` measures. For rfc2544 all of it (26.2): then the rate is
    the NDR, or without one the PDR, and there is no common load."""
    return (1.0,) if options.profile == RFC2544 else LATENCY_SHARES


def deviations(options: Options, parts: Sequence[Part]) -> list[str]:
    """What a run by rfc2544 can't claim here, as sentences about the run's own parts; empty without it."""
    if options.profile != RFC2544:
        return []
    said = [
        "These are not RFC 2544 conformance results: the RFC has a device between ports of a separate tester.",
        "DUT and tester share one machine (section 6 wants a separate tester): they compete for caches,"
        " memory bandwidth and, with --placement same, for the CPU.",
        "veth has no wire: no line rate, no theoretical maximum frame rate (20), no inter-frame gap (26.4)."
        " 100 % is what the generator can offer into a bare drop.",
        "Frame sizes change what is copied, not how long a frame is on a wire; the FCS is counted, not sent.",
        "Latency (26.2) has one machine's clock at both ends: no error between clocks, but reading it twice is"
        " part of the figure, and no port, DMA or wire is.",
        "Sources are in 198.18.0.0/15 (appendix C.2.2), destinations are those of the routes, outside it.",
        "Only an isolated testbed is measured, and nothing is certified (RFC 6815).",
    ]
    if any(part.placement == "same" for part in parts):
        said.append(
            "With generator and DUT on one CPU the generator waits for the DUT. What it could not offer counts"
            " as lost, so throughput is that of the chain, not of the DUT alone."
        )
    if any(part.kind != "wall" for part in parts):
        said.append("A lab is emulated: it has no rates, so none of these tests can be made in it.")
    if options.trial_s < _RUN["trial_s"] and set(options.methods) & {"throughput", "loss-curve"}:
        said.append(f"Trials of {options.trial_s:g} s were asked for; section 24 wants at least 60 s.")
    if not set(ETHERNET_FRAME_BYTES) <= set(options.frame_bytes):
        said.append("Not all frame sizes of section 9.1 were asked for.")
    return said
