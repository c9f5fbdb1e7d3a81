# SPDX-License-Identifier: GPL-2.0-only
"""To which stage of a packet's way a chain of kernel functions belongs, as `kb-perf --sample` prints it.

It is that of the first function in FUNCTIONS, from the one that was running outwards through its callers: what all
share (memcpy, locks) counts for who called it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

RECEIVE, LINK, BUFFERS, PROGRAM, SOCKET = "receive", "link", "buffers", "program", "socket"
STACK, TRANSMIT, SYSTEM, OTHER = "stack", "transmit", "system", "other"
SINK, GENERATOR = "sink", "generator"
IDLE, NOT_OURS = "idle", "not ours"

TITLES = {
    RECEIVE: "softirq/NAPI", LINK: "veth/redirect", BUFFERS: "buffers", PROGRAM: "program",
    SOCKET: "packet socket", STACK: "IP stack", TRANSMIT: "transmit", SYSTEM: "system calls", OTHER: "other",
    SINK: "sink", GENERATOR: "generator",
}  # fmt: skip
"""All stages of a packet, in the order in which they are shown."""

FUNCTIONS: dict[str, tuple[str, ...]] = {
    # kernel/softirq.c, net/core/dev.c, gro.c, net/ethernet/eth.c
    RECEIVE: (
        "handle_softirqs", "__do_softirq", "do_softirq*", "run_ksoftirqd", "net_rx_action", "net_tx_action",
        "__napi_*", "napi_*", "gro_*", "dev_gro_receive", "inet_gro_*", "udp_gro_*", "udp4_gro_*",
        "udp6_gro_*", "ipv6_gro_*", "skb_gro_*",
        "__netif_receive_skb*", "netif_receive_skb*", "process_backlog", "enqueue_to_backlog", "netif_rx*",
        "__netif_rx*", "eth_type_trans", "do_xdp_generic", "netif_receive_generic_xdp", "bpf_prog_run_generic_xdp",
        "__local_bh_enable_ip", "eth_gro_*", "irq_exit_rcu", "__irq_exit_rcu",
    ),
    # drivers/net/veth.c, net/core/filter.c, kernel/bpf/devmap.c, net/core/xdp.c
    LINK: (
        "veth_*", "__veth_*", "xdp_do_redirect*", "xdp_do_flush", "xdp_do_check_flushed", "bq_*", "dev_map_*",
        "__dev_map_*", "__dev_flush", "dev_xdp_enqueue", "xdp_update_frame*", "__xdp_build_skb_from_frame",
        "xdp_build_skb_from_frame", "xdp_convert_*", "xdp_do_generic_redirect*", "bpf_xdp_redirect*",
    ),
    # net/core/skbuff.c, page_pool.c, xdp.c, mm/
    BUFFERS: (
        "page_pool_*", "__page_pool_*", "kmem_cache_*", "__kmem_cache_*", "__slab_*", "___slab_*",
        "kfree", "kmalloc*", "__kmalloc*", "kmalloc_reserve", "slab_*", "__alloc_skb", "alloc_skb*", "build_skb*",
        "__build_skb*", "napi_build_skb", "__napi_build_skb", "napi_skb_cache_*", "napi_consume_skb", "kfree_skb*",
        "__kfree_skb*", "consume_skb", "skb_release_*", "skb_free_head", "sk_skb_reason_drop", "skb_clone",
        "__skb_clone", "skb_copy", "skb_copy_expand", "__pskb_copy*", "pskb_expand_head", "skb_cow*", "skb_pp_cow_data",
        "skb_page_frag_*", "page_frag_*", "__page_frag_*", "get_page_from_freelist", "__alloc_pages*",
        "__alloc_frozen_pages*", "alloc_pages*", "free_unref_*", "__free_pages*", "free_frozen_page*", "__folio_put",
        "put_page*", "rmqueue*", "xdp_return_frame*", "__xdp_return", "xdp_free_*", "xdp_alloc_*",
        "sock_alloc_send_pskb", "alloc_skb_with_frags", "sock_wfree", "skb_set_owner_w", "skb_defer_free_*",
        "skb_attempt_defer_free", "napi_pp_put_page", "tpacket_destruct_skb", "__napi_kfree_skb",
    ),
    # kmods/netfilter, net/netfilter/core.c; BPF programs: `stage_of_function`
    PROGRAM: ("kbench_nf_*", "nf_hook_slow*", "nf_hook"),
    # net/packet/af_packet.c
    SOCKET: ("tpacket_*", "packet_*", "__packet_*", "prb_*", "run_filter", "dev_queue_xmit_nit"),
    # net/ipv4, net/ipv6, net/core/neighbour.c, dst.c
    STACK: (
        "ip_*", "__ip_*", "ip6_*", "__ip6_*", "ipv6_*", "__ipv6_*", "inet_*", "fib_*", "__fib_*", "fib6_*",
        "neigh_*", "__neigh_*", "dst_*", "__dst_*", "ipv4_*", "rt6_*", "arp_*", "udp_*", "icmp_*",
    ),
    # net/core/dev.c, net/sched/sch_generic.c
    TRANSMIT: (
        "dev_queue_xmit*", "__dev_queue_xmit*", "dev_hard_start_xmit", "sch_direct_xmit", "__qdisc_*", "qdisc_*",
        "validate_xmit_*", "__dev_direct_xmit", "generic_xdp_tx", "netdev_core_pick_tx", "netdev_pick_tx",
        "netif_skb_features", "pfifo_*", "noqueue_*", "skb_network_protocol", "passthru_features_check",
    ),
    # arch/x86/entry, net/socket.c, fs/select.c, kernel/sched
    SYSTEM: (
        "entry_SYSCALL_*", "do_syscall_64", "x64_sys_call", "__x64_sys_*", "__sys_*", "___sys_*", "____sys_*",
        "syscall_*", "sock_sendmsg*", "__sock_sendmsg", "sock_recvmsg*", "sock_def_readable", "sock_poll",
        "do_sys_poll", "do_poll*", "poll_*", "schedule*", "__schedule", "try_to_wake_up", "wake_up_*",
        "__wake_up*", "ttwu_*", "finish_task_switch", "__switch_to*", "pick_next_task*", "update_curr*",
        "asm_*", "sysvec_*", "__sysvec_*", "hrtimer_*", "__hrtimer_*", "tick_*", "update_process_times",
        "exit_to_user_mode*", "copy_msghdr_*", "import_iovec", "sockfd_lookup*", "fdget", "__fdget", "kthread",
        "ret_from_fork*", "irqentry_*", "security_*", "smpboot_thread_fn",
    ),
    IDLE: (
        "do_idle", "cpu_startup_entry", "cpuidle_*", "default_idle*", "pv_native_safe_halt", "native_safe_halt",
        "acpi_safe_halt", "intel_idle*", "mwait_idle*", "cpu_idle_*", "arch_cpu_idle*",
    ),
}  # fmt: skip
"""Kernel functions by stage; with * the start of a name, of which the longest that fits counts."""

_EXACT = {name: stage for stage, names in FUNCTIONS.items() for name in names if not name.endswith("*")}
_STARTS = sorted(
    ((name[:-1], stage) for stage, names in FUNCTIONS.items() for name in names if name.endswith("*")),
    key=lambda start: -len(start[0]),
)
_BPF = re.compile(r"bpf_prog_[0-9a-f]{16}(?:_(.*))?")
BPF_PROGRAMS = {"sink": SINK, "offer": GENERATOR}
"""kbench's own BPF programs that are no datapath (kmods/bpf)."""

TO_SINK = "veth_xdp_rcv_skb"
"""Makes an XDP buffer of a socket buffer, copying it as a rule (drivers/net/veth.c)."""
WAYS_IN = ("entry_", "ret_from_fork", "asm_", "common_startup", "secondary_startup")
"""Where the kernel is entered: a chain that starts elsewhere is cut off."""
IDLE_THREAD = "[idle]"
SOFTIRQS = frozenset({"handle_softirqs", "__do_softirq"})
NO_NETWORK = frozenset(
    {"run_timer_softirq", "hrtimer_run_softirq", "rcu_core", "rcu_core_si", "blk_done_softirq",
     "tasklet_action_common", "sched_balance_softirq", "run_rebalance_domains"}
)  # fmt: skip
"""What other softirqs do (kernel/softirq.c)."""
GENERATORS = ("kb-offer-", "kpktgend_")
HELPERS = frozenset({"kb-agent", "kb-perf", "kb-ports", "kb-sink", "kb-stamp", "kb-pin"})
DUT_THREADS = ("kb-", "napi/", "ksoftirqd/")
"""Starts of threads' names. Softirqs are the DUT's or the sink's in whichever thread they run; what else runs in other
threads is not on a packet's way."""


def by_stage(cpu: dict[str, Any], generator: str) -> Counter[str]:
    """Samples of one CPU, as kb-perf printed them, by stage; IDLE and NOT_OURS are none of a packet's.

    `generator` is the trial's.
    """
    counts: Counter[str] = Counter()
    for thread, count in cpu["user"].items():
        counts[_of_user(thread)] += int(count)
    for chain, count in cpu["chains"]:
        thread, *functions = chain.split(";")
        counts[stage_of_chain(thread, functions, generator)] += int(count)
    for thread, count in cpu["other"].items():
        takes_part = thread.startswith(GENERATORS + DUT_THREADS) and thread not in HELPERS
        counts[OTHER if takes_part else NOT_OURS] += int(count)
    return counts


def _of_user(thread: str) -> str:
    if thread.startswith(GENERATORS):
        return GENERATOR
    return PROGRAM if thread.startswith("kb-") and thread not in HELPERS else NOT_OURS


def stage_of_chain(thread: str, functions: Iterable[str], generator: str) -> str:
    """Stage of a kernel sample, from its thread's name and its functions, the outermost first."""
    chain = [clean(name) for name in functions]
    if NO_NETWORK.intersection(chain):
        return NOT_OURS
    # The kernel can't always follow callers out of a BPF program: then nothing tells whose softirq it was in.
    whole = bool(chain) and chain[0].startswith(WAYS_IN)
    if whole and not SOFTIRQS.intersection(chain):
        if thread.startswith(GENERATORS):
            return GENERATOR
        if thread != IDLE_THREAD and (thread in HELPERS or not thread.startswith(DUT_THREADS)):
            return NOT_OURS
    # What comes out of a veth as a socket buffer goes into the sink's program, unless the generator sent it as one.
    if generator == "xdp" and TO_SINK in chain:
        return SINK
    for name in reversed(chain):
        stage = stage_of_function(name)
        if stage is not None:
            return stage
    return OTHER


def clean(name: str) -> str:
    """Without what the compiler added (``.isra.0``) and without the module in brackets."""
    return name if name.startswith("[") else name.partition("[")[0].partition(".")[0]


@cache
def stage_of_function(name: str) -> str | None:
    """By FUNCTIONS; None for what serves many stages."""
    bpf = _BPF.fullmatch(name)
    if bpf:
        return BPF_PROGRAMS.get(bpf[1] or "", PROGRAM)
    if name in _EXACT:
        return _EXACT[name]
    return next((stage for start, stage in _STARTS if name.startswith(start)), None)
