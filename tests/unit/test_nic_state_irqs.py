# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of queues by the names that drivers give them."""

from __future__ import annotations

import pytest

from kbench.host.nic.irqs import QueueIrqs, names, queue_irqs

# e1000e, virtio-net and vmxnet3 were captured in the lab; the others are typed in from the drivers' sources.
LINES = {
    "e1000e": (
        """
 37:          0          1  PCI-MSIX-0000:01:00.0   0-edge      eth1-rx-0
 38:          0          0  PCI-MSIX-0000:01:00.0   1-edge      eth1-tx-0
 39:          0          1  PCI-MSIX-0000:01:00.0   2-edge      eth1
""",
        (37,),
        (38,),
    ),
    "virtio-net": (
        """
 31:          0          0  PCI-MSIX-0000:00:05.0   0-edge      virtio2-config
 32:          0          0  PCI-MSIX-0000:00:05.0   1-edge      virtio2-input.0
 33:          0          1  PCI-MSIX-0000:00:05.0   2-edge      virtio2-output.0
 34:          0          0  PCI-MSIX-0000:00:05.0   3-edge      virtio2-input.1
 35:          0          1  PCI-MSIX-0000:00:05.0   4-edge      virtio2-output.1
""",
        (32, 34),
        (33, 35),
    ),
    "vmxnet3": (
        """
 43:          0          2  PCI-MSIX-0000:00:07.0   0-edge      eth1-rxtx-0
 44:          3          0  PCI-MSIX-0000:00:07.0   1-edge      eth1-rxtx-1
 45:          0          0  PCI-MSIX-0000:00:07.0   2-edge      eth1-event-2
""",
        (43, 44),
        (),
    ),
    "igb": (
        """
 50:          1          0   PCI-MSI 524288-edge      eth1
 51:         10          0   PCI-MSI 524289-edge      eth1-TxRx-0
 52:          0         10   PCI-MSI 524290-edge      eth1-TxRx-1
""",
        (51, 52),
        (),
    ),
    "ixgbe, more than ten queues": (
        "".join(
            f" {60 + i}:   0   0  IR-PCI-MSIX-0000:04:00.0  {i}-edge  eth1-TxRx-{i}\n" for i in (0, 10, 2, 1)
        )
        + " 90:   0   0  IR-PCI-MSIX-0000:04:00.0  63-edge  eth1\n",
        (60, 61, 62, 70),
        (),
    ),
    "i40e": (
        """
 70:          0          0  IR-PCI-MSIX-0000:18:00.0   0-edge      i40e-0000:18:00.0:misc
 71:          0          0  IR-PCI-MSIX-0000:18:00.0   1-edge      i40e-eth1-TxRx-0
 72:          0          0  IR-PCI-MSIX-0000:18:00.0   2-edge      i40e-eth1-TxRx-1
 73:          0          0  IR-PCI-MSIX-0000:18:00.0   3-edge      i40e-0000:18:00.0:fdir-TxRx-0
""",
        (71, 72),
        (),
    ),
    "ice": (
        """
 80:          0          0  IR-PCI-MSIX-0000:31:00.0   0-edge      ice-0000:31:00.0:misc
 81:          0          0  IR-PCI-MSIX-0000:31:00.0   1-edge      ice-eth1-TxRx-0
 82:          0          0  IR-PCI-MSIX-0000:31:00.0   2-edge      ice-eth1-TxRx-1
""",
        (81, 82),
        (),
    ),
    "mlx5": (
        """
 90:          0          0  IR-PCI-MSIX-0000:5e:00.0   0-edge      mlx5_async0@pci:0000:5e:00.0
 91:          0          0  IR-PCI-MSIX-0000:5e:00.0   1-edge      mlx5_comp0@pci:0000:5e:00.0
 92:          0          0  IR-PCI-MSIX-0000:5e:00.0   2-edge      mlx5_comp1@pci:0000:5e:00.0
""",
        (91, 92),
        (),
    ),
    "bnxt": (
        """
100:          0          0  IR-PCI-MSIX-0000:3b:00.0   0-edge      eth1-TxRx-0
101:          0          0  IR-PCI-MSIX-0000:3b:00.0   1-edge      eth1-TxRx-1
""",
        (100, 101),
        (),
    ),
    "bnxt, separate": (
        """
100:          0          0  IR-PCI-MSIX-0000:3b:00.0   0-edge      eth1-rx-0
101:          0          0  IR-PCI-MSIX-0000:3b:00.0   1-edge      eth1-tx-0
""",
        (100,),
        (101,),
    ),
    "tg3": (
        """
110:          0          0   PCI-MSI 1048576-edge      eth1-tx-0
111:          0          0   PCI-MSI 1048577-edge      eth1-rx-1
112:          0          0   PCI-MSI 1048578-edge      eth1-rx-2
""",
        (111, 112),
        (110,),
    ),
    "ena": (
        """
120:          0          0   PCI-MSI 81920-edge      ena-mgmnt@pci:0000:00:05.0
121:          0          0   PCI-MSI 81921-edge      eth1-Tx-Rx-0
122:          0          0   PCI-MSI 81922-edge      eth1-Tx-Rx-1
""",
        (121, 122),
        (),
    ),
    "e1000, shared": (
        """
 11:          0         10   IO-APIC  11-fasteoi   eth1, uhci_hcd:usb1
""",
        (11,),
        (),
    ),
    "on ARM": (
        """
 47:          0          0   ITS-MSI 524288 Edge      eth1-TxRx-0
 48:          0          0     GICv3  79 Level     eth1-TxRx-1
""",
        (47, 48),
        (),
    ),
    "names that tell nothing": (
        """
 47:          0          0   PCI-MSIX-0000:00:09.0   0-edge      nicevendor:a
 48:          0          0   PCI-MSIX-0000:00:09.0   1-edge      nicevendor:b
""",
        (),
        (),
    ),
}


@pytest.mark.parametrize("driver", LINES)
def test_interrupts_of_queues(driver: str) -> None:
    lines, receive, transmit = LINES[driver]
    named = names("           CPU0       CPU1\n" + lines.lstrip("\n"))
    mine = {str(number): name for number, name in named.items()}
    assert len(mine) == len(lines.strip().splitlines())
    assert queue_irqs(mine, "eth1") == QueueIrqs(receive, transmit)


def test_lines_without_a_driver_or_a_number_are_passed_over() -> None:
    text = (
        "           CPU0       CPU1\n  9:  0  0   IO-APIC   9-fasteoi   acpi\n 10:  0  0  IO-APIC  10-edge\n"
        "NMI:   0   0   Non-maskable interrupts\nERR:   0\n"
    )
    assert names(text) == {9: "acpi"}
    assert names("") == {}
