# SPDX-License-Identifier: GPL-2.0-only
"""The command topo: which ports are free, and how they are cabled."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kbench.measure.nics.survey import Survey
    from kbench.measure.plan import Options


def topo(options: Options, *, as_json: bool) -> int:
    """Prints all free ports with their cables; with ports named, the topology that a run would be on."""
    from kbench.host import builds
    from kbench.host.local import LocalHost
    from kbench.host.nic import picture
    from kbench.measure.nics import survey
    from kbench.measure.plan import on_nics
    from kbench.measure.reporter import Reporter
    from kbench.measure.run import (
        journal_of,
        need_root,
        one_run_at_a_time,
        restore_first,
        terminated_like_interrupted,
    )
    from kbench.store import new_run_id

    need_root()
    reporter = Reporter(quiet=as_json)
    with ExitStack() as stack:
        stack.enter_context(terminated_like_interrupted())
        stack.enter_context(one_run_at_a_time())
        restore_first(reporter)
        local = stack.enter_context(LocalHost(builds.programs(reporter.step)))
        journal = stack.enter_context(journal_of(f"topo-{new_run_id()}", reporter))
        journal.record_process(local.agent_pid)
        plain = not picture.can_draw(sys.stdout.encoding)
        if on_nics(options):
            nic = survey.topology(options, local, journal, reporter)
            text, data = picture.topology(nic, ascii_only=plain), nic
        else:
            found = survey.survey(options, local, journal, reporter)
            text, data = survey.draw(found, ascii_only=plain), _data(found)
    print(json.dumps(data, indent=1) if as_json else text)
    return 0


def _data(found: Survey) -> dict[str, Any]:
    cables = found.cables

    def port(end: Any) -> dict[str, str]:
        return {"host": end.place, "name": end.port}

    return {
        "ports": [
            facts | {"refused": found.refused.get(end), "silent": cables.silent.get(end)}
            for end, facts in found.facts.items()
        ],
        "pairs": [[port(a), port(b)] for a, b in cables.pairs],
        "loops": [port(end) for end in cables.loops],
        "shared": [[port(end), *map(port, others)] for end, others in cables.shared.items()],
        "one_way": [[port(end), port(other)] for end, other in cables.one_way.items()],
    }
