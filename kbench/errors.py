# SPDX-License-Identifier: GPL-2.0-only
"""One exception tree; each class carries the exit code that the command line ends with.

A KbenchError is an answer to the user: one line that says what is wrong and what to do.
Anything else that escapes is a bug in kbench and shows a traceback.
"""

from __future__ import annotations


class KbenchError(Exception):
    """Base of everything that is reported to the user as one line."""

    exit_code = 5


class UsageError(KbenchError):
    """Bad input: an unknown name, a value out of range, a file with a bad line."""

    exit_code = 2


class EnvironmentProblem(KbenchError):
    """This machine lacks something: root, a program, a package, a kernel feature."""

    exit_code = 3


class VerificationFailed(KbenchError):
    """A datapath does not do what the reference model says, so it was not measured."""

    exit_code = 4


class MeasureError(KbenchError):
    """A run could not be completed: a program died, the lab panicked, a time-out."""

    exit_code = 5


class StoreError(KbenchError):
    """Results can't be written or read: disk full, unknown schema, empty run."""

    exit_code = 6


INTERRUPTED_EXIT_CODE = 130
"""Ctrl-C or SIGTERM: everything was undone and finished trials are kept."""

REGRESSION_EXIT_CODE = 10
"""`kbench compare`: some figure is worse in HEAD, by the comparison's own rule."""

NOT_ENOUGH_DATA_EXIT_CODE = 11
"""`kbench compare`: nothing is shown to be worse, but of some figure neither a change nor its absence can be said."""
