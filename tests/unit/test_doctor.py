# SPDX-License-Identifier: GPL-2.0-only
"""Doctor's answers, from what a machine might say: each no has a reason and something to do."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kbench import doctor
from kbench.doctor import Answer, Capabilities
from kbench.errors import EnvironmentProblem
from kbench.host import archive, packages, qemu
from kbench.host.base import Completed, HostFileError

RELEASE = "6.1.0-50-amd64"
TRIED = (
    "modules pktgen btf kvm namespace forwarding af_packet_v2 af_packet_v3"
    " veth bpf live_frames xdp_native xdp_generic"
)


class FakeHost:
    """A machine made of a few files and of what kb-probe says on it."""

    def __init__(self, answers: dict[str, Any], files: dict[str, str], kind: str = "local") -> None:
        self.kind = kind
        self.kernel_release = RELEASE
        self.answers = answers
        self.files = files

    def program(self, name: str) -> str:
        return f"/bin/{name}"

    def run(self, argv: list[str], **_: Any) -> Completed:
        assert argv == ["/bin/kb-probe"]
        return Completed(json.dumps(self.answers) + "\n", "", 0)

    def read_text(self, path: str) -> str:
        if path not in self.files:
            raise HostFileError(errno.ENOENT, path)
        return self.files[path]

    def exists(self, path: str) -> bool:
        return path in self.files


def answers(**failures: int) -> dict[str, Any]:
    """All goes well but for the named, which fail with an errno."""
    said: dict[str, Any] = {"event": "probe", "uid": 0}
    for name in TRIED.split():
        code = failures.get(name, 0)
        said[name] = {"ok": not code} | ({"errno": code, "error": "No Luck"} if code else {})
    return said


DEBIAN = {
    f"/lib/modules/{RELEASE}/modules.dep": "kernel/net/core/pktgen.ko.xz:\nkernel/drivers/net/veth.ko.xz:\n",
    f"/lib/modules/{RELEASE}/modules.builtin": "kernel/net/packet/af_packet.ko\n",
    f"/lib/modules/{RELEASE}/build/Makefile": "",
    "/sys/kernel/security/lockdown": "[none] integrity confidentiality",
}


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with QEMU and all packages, at rest, and an empty cache."""
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(qemu, "find_qemu", lambda: qemu.Qemu("/bin/qemu", "7.2.22 (Debian)"))
    monkeypatch.setattr(packages, "missing", lambda tier="run": ())
    monkeypatch.setattr(packages, "is_there", lambda provides: True)
    monkeypatch.setattr(doctor, "_busy_share", lambda: 0.0)
    monkeypatch.setattr(archive, "debian_mirrors", lambda *_: ())


def probed(said: dict[str, Any], files: dict[str, str] | None = None, kind: str = "local") -> Capabilities:
    return doctor.probe(FakeHost(said, DEBIAN if files is None else files, kind))  # type: ignore[arg-type]


def shown(found: Capabilities) -> str:
    out = io.StringIO()
    Console(file=out, width=300).print(doctor.render(found))
    return out.getvalue()


def test_a_machine_that_can_do_everything() -> None:
    found = probed(answers(pktgen=errno.ENOENT))
    assert found.datapaths == ("netfilter", "xdp", "af_packet", "kernel")
    assert found.generators == ("pktgen", "xdp")
    assert found.pktgen == Answer(True, "can be loaded")
    assert doctor.exit_code(found) == 0
    assert (
        doctor.verdict(found) == "This machine measures netfilter, xdp, af_packet, kernel with pktgen or xdp."
    )


def test_a_kernel_without_modules_leaves_netfilter_to_the_lab() -> None:
    found = probed(answers(modules=errno.ENOSYS, pktgen=errno.ENOENT), {})
    assert found.datapaths == ("xdp", "af_packet", "kernel")
    assert found.generators == ("xdp",)
    assert "without modules" in found.netfilter.why and "--where lab" in found.netfilter.what_to_do
    assert "without modules" in found.pktgen.why
    assert "in the lab" in doctor.verdict(found)


@pytest.mark.parametrize(
    ("files", "why", "advice"),
    [
        ({f"/lib/modules/{RELEASE}/build/Makefile": None}, "no headers", f"linux-headers-{RELEASE}"),
        ({"/sys/kernel/security/lockdown": "none [integrity]"}, "signed", "Secure Boot"),
        ({"/sys/module/module/parameters/sig_enforce": "Y"}, "signed", "Secure Boot"),
        ({"/proc/sys/kernel/modules_disabled": "1"}, "next boot", "reboot"),
    ],
)
def test_why_a_module_can_not_be_loaded(files: dict[str, str | None], why: str, advice: str) -> None:
    merged = {path: text for path, text in (DEBIAN | files).items() if text is not None}
    found = probed(answers(), merged)
    assert not found.modules.ok and why in found.modules.why and advice in found.modules.what_to_do
    assert found.netfilter == found.modules


def test_no_pktgen_among_the_modules_names_ubuntus_package() -> None:
    files = DEBIAN | {
        f"/lib/modules/{RELEASE}/modules.dep": "kernel/net/core/pktgen_not.ko: kernel/pktgen.ko\n"
    }
    found = probed(answers(pktgen=errno.ENOENT), files)
    assert not found.pktgen.ok and f"linux-modules-extra-{RELEASE}" in found.pktgen.what_to_do


def test_not_root_says_so_everywhere() -> None:
    said = {"event": "probe", "uid": 1000}
    for name, code in (("modules", 1), ("pktgen", 13), ("kvm", 13), ("namespace", 1)):
        said[name] = {"ok": False, "errno": code, "error": "Operation not permitted"}  # type: ignore[assignment]
    said["btf"] = {"ok": True}  # type: ignore[assignment]
    found = probed(said)
    assert found.datapaths == () and found.generators == ()
    for answer in (
        found.xdp,
        found.af_packet,
        found.kernel,
        found.netfilter,
        found.pktgen,
        found.live_frames,
    ):
        assert not answer.ok and "root" in answer.what_to_do


def test_nothing_at_all_is_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> qemu.Qemu:
        raise EnvironmentProblem("no QEMU")

    monkeypatch.setattr(qemu, "find_qemu", none)
    found = probed(answers(namespace=errno.EPERM))
    assert not found.can_measure and doctor.exit_code(found) == 3
    assert "Nothing can be measured" in shown(found)


@pytest.mark.parametrize(
    "name", ["xdp_native", "live_frames", "af_packet_v3", "forwarding", "veth", "bpf", "namespace"]
)
def test_each_no_has_a_reason_and_advice(name: str) -> None:
    found = probed(answers(**{name: errno.EOPNOTSUPP}))
    bad = [getattr(found, row) for _, _, row in doctor.ROWS if not getattr(found, row).ok]
    assert bad and all(answer.why == "no luck" and answer.what_to_do for answer in bad)


def test_the_lab_runs_only_where_kbench_is_started() -> None:
    assert not probed(answers(), kind="lab").lab.ok


def test_a_lab_without_a_source_of_kernels_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none(*_: Any) -> None:
        raise EnvironmentProblem("no Debian mirror")

    monkeypatch.setattr(archive, "debian_mirrors", none)
    assert probed(answers()).lab == Answer(False, "no Debian mirror", "give --kernel PATH")
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "6.12-abc.json").write_text("{}")
    assert "6.12 in the cache" in probed(answers()).lab.why


def test_kvm_is_believed_only_after_a_trial_boot(tmp_path: Path) -> None:
    assert "first start" in probed(answers()).kvm.why
    (tmp_path / "kvm.json").write_text('{"x": ""}')
    assert probed(answers()).kvm == Answer(True, "a trial boot worked")
    (tmp_path / "kvm.json").write_text('{"x": "the lab did not boot (assertion)"}')
    assert probed(answers()).kvm.why == "a trial boot failed: the lab did not boot"


def test_warnings() -> None:
    noisy = DEBIAN | {
        "/sys/devices/system/cpu/online": "0-1",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
        "/sys/devices/system/cpu/smt/active": "1",
        "/proc/net/packet": "sk RefCnt\nffff 3\nffff 3\n",
        "/proc/sys/kernel/bpf_stats_enabled": "1",
    }
    text = " ".join(probed(answers(), noisy).warnings)
    for word in ("powersave", "SMT", "2 packet socket(s)", "bpf_stats_enabled"):
        assert word in text
    assert probed(answers(), kind="lab").warnings == ()


def test_a_table_and_json_name_every_row() -> None:
    found = probed(answers(modules=errno.ENOSYS))
    text, fields = shown(found), doctor.as_data(found)
    for _, label, name in doctor.ROWS:
        assert label in text
        assert isinstance(fields[name]["ok"], bool)
    json.dumps(fields, allow_nan=False)


def test_what_a_machine_says_is_not_markup() -> None:
    found = probed(answers())
    odd = Capabilities(**{**vars(found), "warnings": ("[red]not markup[/red]",)})
    assert "[red]not markup[/red]" in shown(odd)
