# SPDX-License-Identifier: GPL-2.0-only
"""Never harm: which ports of a machine are in use, by whom, and so are not for measuring. It only looks.

The rules are in guard_rules.py. ``--i-know`` overrides all but those that are `absolute`: the port isn't there, it is
the loopback device, or the session that controls the run goes over it.
"""

from __future__ import annotations

from collections.abc import Sequence

from kbench.errors import EnvironmentProblem
from kbench.host.nic import guard_rules
from kbench.host.nic.guard_facts import Machine, ToolShell, read_machine
from kbench.host.nic.guard_rules import Objection

__all__ = ["Objection", "free_ports", "objections", "require_free"]


def judge(machine: Machine, port: str, session: Sequence[str]) -> list[Objection]:
    """All objections to one port of a machine that was read."""
    for rule in (guard_rules.absent, guard_rules.loopback):
        if found := rule(machine, port):
            return [found]
    own = _judge_alone(machine, port, session)
    # A veth's other end is known without asking the wire: what is sent into one comes out of the other.
    peer = machine.peer(port)
    if peer in machine.links and (beyond := _judge_alone(machine, peer, session)):
        first = beyond[0]
        own.append(
            Objection(port, "peer", f"its other end, {peer}, is in use: {first.why}", absolute=first.absolute)
        )
    return own


def _judge_alone(machine: Machine, port: str, session: Sequence[str]) -> list[Objection]:
    found = [guard_rules.session(machine, port, session)]
    found += [rule(machine, port) for rule in guard_rules.RULES]
    return [objection for objection in found if objection]


def objections(
    shell: ToolShell, name: str, *, session: Sequence[str] = (), netns: str | None = None
) -> list[Objection]:
    """Why the port must not be taken for measuring; empty: nobody uses it.

    `session` are the addresses of the connection that controls the run (its end on this machine, and the other one).
    `netns`: the port is in that namespace. MeasureError or HostFileError when the machine can't be looked at.
    """
    return judge(read_machine(shell, netns=netns, session=session), name, session)


def require_free(
    shell: ToolShell,
    names: Sequence[str],
    *,
    session: Sequence[str] = (),
    i_know: bool = False,
    host_name: str = "this machine",
    netns: str | None = None,
) -> list[Objection]:
    """Raise EnvironmentProblem, a line for each port that is in use; return the objections that `i_know` overrode."""
    machine = read_machine(shell, netns=netns, session=session)
    found = {name: judge(machine, name, session) for name in names}
    refused = {
        name: [x for x in those if x.absolute or not i_know]
        for name, those in found.items()
        if any(x.absolute or not i_know for x in those)
    }
    if refused:
        raise EnvironmentProblem("\n".join(refusal(those, host_name) for those in refused.values()))
    return [objection for those in found.values() for objection in those]


def refusal(those: Sequence[Objection], host_name: str = "this machine") -> str:
    """One line: the port, all reasons, and what to do about the one that weighs most."""
    first = next((x for x in those if x.absolute), those[0])
    if first.rule in ("absent", "loopback"):
        return f"{first.port} of {host_name} can't be used: {first.why}; {first.what_to_do}"
    reasons = "; ".join(x.why for x in [first, *(x for x in those if x is not first)])
    return f"{first.port} of {host_name} is in use: {reasons}; {first.what_to_do}"


def free_ports(
    shell: ToolShell, session: Sequence[str] = (), *, netns: str | None = None
) -> tuple[list[str], dict[str, str]]:
    """Ports on which a cable may be looked for, and why others must not be: port -> reasons.

    Ports are those with a device behind them, and veths with both ends in the namespace; what is neither (bridges,
    VLANs, the outer end of a container's cable) is not mentioned.
    """
    machine = read_machine(shell, netns=netns, session=session)
    free: list[str] = []
    refused: dict[str, str] = {}
    for name in machine.links:
        if name not in machine.physical and not machine.peer(name):
            continue
        those = judge(machine, name, session)
        if those:
            refused[name] = "; ".join(x.why for x in those)
        else:
            free.append(name)
    return free, refused
