# SPDX-License-Identifier: GPL-2.0-only
"""Samples become stages of a packet's way: by the function nearest to the leaf that belongs to one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kbench.explain.chains import (
    BUFFERS,
    FUNCTIONS,
    GENERATOR,
    IDLE,
    LINK,
    NOT_OURS,
    OTHER,
    PROGRAM,
    RECEIVE,
    SINK,
    SOCKET,
    STACK,
    SYSTEM,
    TITLES,
    TRANSMIT,
    by_stage,
    stage_of_chain,
)
from kbench.explain.figures.stages import _STYLES, chart
from kbench.explain.stages import Stages, sheet, stages, why_not
from kbench.model import Counters, Trial
from kbench.store import Run

SYSCALL = "entry_SYSCALL_64_after_hwframe;do_syscall_64"
LIVE = (
    f"kb-offer-xdp;{SYSCALL};__x64_sys_bpf;__sys_bpf;bpf_prog_test_run_xdp;bpf_test_run_xdp_live"
    ";xdp_test_run_batch.constprop.0"
)
SOFTIRQ = "__local_bh_enable_ip;do_softirq.part.0;handle_softirqs;net_rx_action"
POLL = f"{LIVE};{SOFTIRQ};__napi_poll;veth_poll"
FRAME = f"{POLL};veth_xdp_rcv;veth_xdp_rcv_one"
BUILD = f"{POLL};veth_xdp_rcv;veth_xdp_rcv_bulk_skb.isra.0"
RECEIVED = f"{BUILD};gro_receive_skb;netif_receive_skb_list_internal;__netif_receive_skb_list_core"
CORE = f"{RECEIVED};__netif_receive_skb_core.constprop.0"
GENERIC = f"{CORE};do_xdp_generic"
ROUTED = f"{RECEIVED};ip_list_rcv;ip_sublist_rcv"
SENT = f"{ROUTED};ip_output;ip_finish_output2;__dev_queue_xmit"
MANY = f"kb-af-packet;{SYSCALL};__x64_sys_sendmmsg;__sys_sendmmsg"
SEND = f"{MANY};___sys_sendmsg;____sys_sendmsg;packet_sendmsg"
COPIED = f"{SEND};__dev_queue_xmit;{SOFTIRQ};__napi_poll;veth_poll;veth_xdp_rcv;veth_xdp_rcv_skb"
IDLES = "common_startup_64;x86_64_start_kernel;start_kernel;rest_init;cpu_startup_entry;do_idle"
REDIRECT = "dev_map_enqueue;bq_enqueue;bq_xmit_all;veth_ndo_xdp_xmit;veth_xdp_xmit"

# Chains of real runs on 6.18 (xdp native and generic, kernel, af_packet), all but those of netfilter and pktgen.
CHAINS = [
    (LIVE, GENERATOR),
    (f"{LIVE};xdp_do_redirect_frame;{REDIRECT}", GENERATOR),
    (f"{LIVE};page_pool_alloc_pages;page_pool_refill_alloc_cache", GENERATOR),
    (f"{LIVE};bpf_prog_67ec670707c5bcdd_offer", GENERATOR),
    ("kb-offer-xdp;bpf_prog_67ec670707c5bcdd_offer", GENERATOR),
    ("kpktgend_0;ret_from_fork_asm;ret_from_fork;pktgen_thread_worker[pktgen];veth_xmit[veth]", GENERATOR),
    (FRAME, LINK),
    (f"{FRAME};_raw_spin_unlock", LINK),
    (f"{FRAME};xdp_do_redirect;{REDIRECT}", LINK),
    (f"{BUILD};__xdp_build_skb_from_frame", LINK),
    (f"{SENT};dev_hard_start_xmit;veth_xmit;__dev_forward_skb2", LINK),
    (f"{GENERIC};xdp_do_generic_redirect;dev_map_generic_redirect", LINK),
    (f"{FRAME};bpf_prog_4a064d88cc3a713e_xdp_forward", PROGRAM),
    (f"{FRAME};bpf_prog_4a064d88cc3a713e_xdp_forward;array_map_lookup_elem", PROGRAM),
    ("kb-offer-xdp;bpf_prog_4a064d88cc3a713e_xdp_forward", PROGRAM),
    (f"{CORE};bpf_prog_0d71cc314471c211_kb_ingress", PROGRAM),
    (f"{GENERIC};bpf_prog_run_generic_xdp;bpf_prog_4a064d88cc3a713e_xdp_forward", PROGRAM),
    (f"{CORE};nf_hook_slow;kbench_nf_ipv4[kbench_nf];memcpy_orig", PROGRAM),
    (f"{FRAME};bpf_prog_e65e3cb395a23829_sink;ktime_get_mono_fast_ns;read_tsc", SINK),
    ("kb-offer-xdp;bpf_prog_e65e3cb395a23829_sink", SINK),
    (f"{COPIED};skb_pp_cow_data;__napi_build_skb", SINK),
    (f"{COPIED};kmem_cache_free", SINK),
    (f"{FRAME};page_pool_put_unrefed_netmem;_raw_spin_lock", BUFFERS),
    (f"{LIVE};{SOFTIRQ};skb_defer_free_flush;_find_next_bit", BUFFERS),
    (f"{BUILD};napi_skb_cache_get_bulk;kmem_cache_alloc_bulk_noprof;__kmem_cache_alloc_bulk", BUFFERS),
    (f"{CORE};sk_skb_reason_drop;skb_release_data;skb_free_head;napi_pp_put_page", BUFFERS),
    (f"{SEND};sock_alloc_send_pskb;alloc_skb_with_frags;__alloc_skb", BUFFERS),
    (f"{LIVE};__local_bh_enable_ip;do_softirq.part.0;handle_softirqs", RECEIVE),
    (f"{POLL};napi_complete_done", RECEIVE),
    (f"{LIVE};{SOFTIRQ};__list_del_entry_valid_or_report", RECEIVE),
    (f"{BUILD};gro_receive_skb;dev_gro_receive;inet_gro_receive", RECEIVE),
    (f"{BUILD};gro_receive_skb;dev_gro_receive;inet_gro_receive;udp4_gro_receive;udp_gro_receive", RECEIVE),
    (f"{CORE};skb_defer_rx_timestamp", RECEIVE),
    (f"{GENERIC};bpf_prog_run_generic_xdp", RECEIVE),
    (f"{ROUTED};ip_rcv_finish_core;ip_route_input_noref;ip_route_input_slow;fib_table_lookup", STACK),
    (f"{ROUTED};ip_forward;__rcu_read_unlock", STACK),
    (f"{SENT};validate_xmit_skb.isra.0;netif_skb_features;skb_network_protocol", TRANSMIT),
    (f"{GENERIC};xdp_do_generic_redirect;generic_xdp_tx;srso_alias_return_thunk", TRANSMIT),
    (f"{CORE};tpacket_rcv;ktime_get_real_ts64", SOCKET),
    (f"{SEND};skb_copy_datagram_from_iter;_copy_from_iter", SOCKET),
    (f"{MANY};__put_user_4", SYSTEM),
    (f"kb-af-packet;{SYSCALL};__x64_sys_poll;do_sys_poll;schedule;_raw_spin_unlock_irqrestore", SYSTEM),
    ("ksoftirqd/0;ret_from_fork_asm;ret_from_fork;kthread;smpboot_thread_fn;schedule;__schedule", SYSTEM),
    (f"[idle];{IDLES};cpuidle_enter;default_idle;pv_native_safe_halt", IDLE),
    (f"[idle];{IDLES};asm_sysvec_apic_timer_interrupt;__irq_exit_rcu;handle_softirqs;net_rx_action", RECEIVE),
    (f"kb-agent;{SYSCALL};__x64_sys_poll;do_sys_poll;fdget", NOT_OURS),
    (f"kbench;{SYSCALL};__x64_sys_openat;do_sys_openat2;__d_lookup_rcu", NOT_OURS),
    (f"python;asm_sysvec_apic_timer_interrupt;__irq_exit_rcu;{SOFTIRQ};__napi_poll;veth_poll", LINK),
    ("python;asm_sysvec_apic_timer_interrupt;handle_softirqs;run_timer_softirq;try_to_wake_up", NOT_OURS),
    ("kb-offer-xdp;bpf_dispatcher_xdp", OTHER),
    ("kb-offer-xdp;[unknown];srso_alias_return_thunk", OTHER),
]  # fmt: skip


def read(cpu: int = 0, **more: Any) -> dict[str, Any]:
    """One CPU's samples, as kb-perf prints them."""
    found: dict[str, Any] = {"cpu": cpu, "lost": 0, "user": {}, "chains": [], "other": {}} | more
    total = sum(found["user"].values()) + sum(n for _, n in found["chains"]) + sum(found["other"].values())
    return found | {"samples": total}


def profiled(datapath: str, *cpus: dict[str, Any], **more: Any) -> Trial:
    """A profiling trial of 0.75 s: a million packets offered, half of them handled."""
    fields: dict[str, Any] = {
        "part": "host", "kind": "wall", "purpose": "profile", "case_id": "forward-p1000-f64", "function": "forward",
        "datapath": datapath, "generator": "xdp", "placement": "same", "round": 1, "started_at": "",
        "frame_bytes": 64, "load_pps": None, "duration_s": 0.75,
        "counters": Counters(1_000_000, 1_000_000, 500_000, lost=500_000), "cpu_ns_per_packet": 750.0,
        "probes": {"samples": {"sampled": "cpu-clock", "hz": 3999, "elapsed_ns": 800_000_000, "cpus": list(cpus)}},
        "raw": {"cpus": {"generator": 0, "receive": 0, "application": 1}},
    }  # fmt: skip
    return Trial(**fields | more)


def absent(datapath: str, why: str) -> Trial:
    return profiled(datapath, probes={"samples": {"absent": why}})


def found(*trials: Trial) -> list[Stages]:
    return stages(Run(Path(), {}, trials=list(trials)), "host", "forward-p1000-f64")


XDP = read(
    chains=[(f"{LIVE};bpf_prog_0123456789abcdef_offer", 500), (f"{POLL};bpf_prog_0123456789abcdef_xdp_forward", 250),
            (f"{POLL};bpf_prog_0123456789abcdef_sink", 50), (f"{POLL};veth_xdp_rcv", 150),
            ("[idle];do_idle;default_idle", 300)],
    user={"python": 7, "kb-offer-xdp": 50},
)  # fmt: skip


@pytest.mark.parametrize(("chain", "stage"), CHAINS)
def test_chain_to_stage(chain: str, stage: str) -> None:
    thread, *functions = chain.split(";")
    assert stage_of_chain(thread, functions, "xdp") == stage


def test_socket_buffers_of_the_generator_are_received_by_the_dut() -> None:
    thread, *functions = f"{COPIED};kmem_cache_free".split(";")
    assert stage_of_chain(thread, functions, "pktgen") == BUFFERS


def test_the_table_names_each_function_once() -> None:
    names = [name for functions in FUNCTIONS.values() for name in functions]
    assert len(names) == len(set(names))
    assert all("*" not in name[:-1] for name in names)
    assert set(FUNCTIONS) <= {*TITLES, IDLE}


def test_every_sample_of_a_cpu_has_a_stage() -> None:
    rare = {"python": 1, "kb-offer-xdp": 5, "kb-af-packet": 4}
    counts = by_stage(read(chains=[(f"{POLL};veth_xdp_rcv", 3)], user={"python": 2}, other=rare), "xdp")
    assert counts == {LINK: 3, NOT_OURS: 3, OTHER: 9}


def test_stages_share_out_the_trial_s_time() -> None:
    (item,) = found(profiled("xdp", XDP))
    assert (item.datapath, item.event, item.samples, item.left_out) == ("xdp", "cpu-clock", 1000, 307)
    assert item.gross_ns == pytest.approx(750.0) == pytest.approx(sum(stage.ns for stage in item.stages))
    ns = {stage.key: stage.ns for stage in item.stages}
    assert ns == pytest.approx({LINK: 112.5, PROGRAM: 187.5, SINK: 37.5, GENERATOR: 412.5})
    assert [stage.key for stage in item.stages] == [key for key in TITLES if key in ns]
    assert [stage.whose for stage in item.stages] == ["DUT", "DUT", "sink", "generator"]
    assert item.dut_ns == pytest.approx(300.0)


def test_intervals_narrow_with_samples() -> None:
    more = read(chains=[(chain, 100 * n) for chain, n in XDP["chains"]], user={"kb-offer-xdp": 5000})
    few, many = (found(profiled("xdp", cpu))[0].stages for cpu in (XDP, more))
    for one, other in zip(few, many, strict=True):
        assert 0 <= one.low_ns < one.ns < one.high_ns
        assert other.ns == pytest.approx(one.ns)
        assert (other.high_ns - other.low_ns) == pytest.approx((one.high_ns - one.low_ns) / 10, rel=0.02)
    # 250 of 1000 samples: 22.4 to 27.8 % by Wilson.
    program = next(stage for stage in few if stage.key == PROGRAM)
    assert program.low_ns / 750 == pytest.approx(0.2241, abs=2e-4)
    assert program.high_ns / 750 == pytest.approx(0.2778, abs=2e-4)


def test_a_program_in_userspace_has_a_cpu_of_its_own() -> None:
    kernel = read(0, chains=[(f"{POLL};tpacket_rcv", 100), (f"{LIVE};xdp_do_redirect", 100)])
    program = read(1, chains=[(f"{SEND};packet_snd", 30), ("[idle];do_idle", 900)], user={"kb-af-packet": 10})
    (item,) = found(profiled("af_packet", kernel, program, cpu_ns_per_packet=1550.0))
    # 750 ns of the generator's window per offered packet, and 800 ns of the program's thread per handled one.
    assert {stage.key: stage.ns for stage in item.stages} == pytest.approx(
        {SOCKET: 375 + 600, PROGRAM: 200, GENERATOR: 375}
    )
    assert item.left_out == 900


def test_split_cpus_are_told_by_the_samples_own_time() -> None:
    cpu = read(1, chains=[("napi/rx0-8;ret_from_fork;kthread;napi_threaded_poll;veth_poll", 600),
                          ("[idle];do_idle", 200)])  # fmt: skip
    (item,) = found(profiled("xdp", cpu, placement="split", cpu_ns_per_packet=None))
    assert item.gross_ns == pytest.approx(0.75 * 800e6 / 500_000)


def test_a_cpu_that_was_not_saturated_is_told_by_the_samples_own_time_too() -> None:
    (item,) = found(
        profiled("xdp", XDP, cpu_ns_per_packet=None, problems=["no CPU time per packet: CPU 0 idled"])
    )
    assert item.gross_ns == pytest.approx(1000 / 1307 * 800e6 / 1_000_000)


def test_a_generator_that_paces_itself_is_no_stage() -> None:
    (item,) = found(profiled("xdp", XDP, cpu_ns_per_packet=None, load_pps=200_000.0))
    assert [stage.key for stage in item.stages] == [LINK, PROGRAM, SINK]
    assert item.left_out == 307 + 550
    assert item.gross_ns == pytest.approx(450 / 1307 * 800e6 / 1_000_000)


def test_what_has_no_stages_says_why() -> None:
    nothing = profiled("kernel", XDP, counters=Counters(1_000_000, 0, 0, lost=1_000_000))
    hidden = absent("xdp", "names of kernel functions are hidden")
    run = Run(Path(), {}, trials=[nothing, hidden])
    assert stages(run, "host", "forward-p1000-f64") == []
    assert why_not(run, "host", "forward-p1000-f64") == {
        "kernel": "no packet was handled", "xdp": "names of kernel functions are hidden",
    }  # fmt: skip
    assert stages(run, "host", "filter") == [] and why_not(run, "host", "filter") == {}


def test_a_sampled_trial_goes_before_one_that_was_not_and_a_clean_one_before_others() -> None:
    other = read(chains=[(f"{POLL};veth_xdp_rcv", 10)])
    trials = [
        profiled("xdp", XDP),
        profiled("xdp", other, contaminated=["others ran"]),
        absent("xdp", "bpf's"),
    ]
    assert [item.samples for item in found(*trials)] == [1000]
    assert [item.samples for item in found(*trials[1:])] == [10]
    assert found(dataclasses.replace(trials[0], purpose="rate")) == []


def test_chart_tells_every_figure() -> None:
    made = chart("where", found(profiled("xdp", XDP)))
    assert made is not None and made.topic == "cpu"
    assert "xdp 300 of the DUT of 750" in made.alt
    assert "program 188 (168 to 208)" in made.alt and "generator 413 (" in made.alt
    assert "Of 1,000 samples per datapath by cpu-clock" in made.note
    svg = made.inline_svg()
    assert all(
        f">{word}<" in svg for word in ("datapath&#x27;s program", "generator", "xdp", "300 of 750")
    ) or all(word in svg for word in ("generator", "xdp", "300 of 750"))
    assert len(svg) < 60_000, "it goes into a page of at most 3 MB"
    assert chart("where", []) is None


def test_chart_names_each_stage_once_and_none_without_time() -> None:
    items = found(
        profiled("xdp", XDP), profiled("kernel", read(chains=[(f"{POLL};netif_receive_skb_list", 9)]))
    )
    made = chart("where", items)
    assert made is not None
    svg = made.inline_svg()
    assert svg.count(TITLES[LINK]) == svg.count(TITLES[RECEIVE]) == 1 and TITLES[SOCKET] not in svg


def test_each_stage_of_the_dut_has_a_look_of_its_own() -> None:
    assert set(_STYLES) == set(TITLES) - {SINK, GENERATOR}
    assert len(set(_STYLES.values())) == len({colour for colour, _ in _STYLES.values()}) == len(_STYLES)


def test_sheet_has_a_column_for_each_stage_that_took_time() -> None:
    items = found(
        profiled("xdp", XDP), profiled("kernel", read(chains=[(f"{POLL};netif_receive_skb_list", 9)]))
    )
    made = sheet(items)
    assert made is not None
    heads = [column.name for column in made.columns]
    assert heads == [
        "datapath",
        *(TITLES[k] for k in (RECEIVE, LINK, PROGRAM, SINK, GENERATOR)),
        "DUT",
        "samples",
    ]
    assert made.lines[0].cells == ["xdp", "-", "112", "188", "37.5", "413", "300", "1,000"]
    assert made.lines[1].cells == ["kernel", "750", "-", "-", "-", "-", "750", "9"]
    assert sheet([]) is None
