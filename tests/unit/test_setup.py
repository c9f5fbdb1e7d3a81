# SPDX-License-Identifier: GPL-2.0-only
"""tools/setup with stand-ins for apt, dpkg and Python: what it installs, what it refuses, what a second start costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = """\
# package  provides  for  reason
have       have-cmd  run  is there
need|other need-cmd  run  builds things
tested     test-cmd  test tests things
browser    no-cmd    weak looks at things
headers-@kernel@ /lib/modules/@kernel@/build kernel builds modules
"""
LIBRARY = "lib@ PLACE/lib/*/libx.so|PLACE/lib*/libx.so run sets text\n"
DPKG_QUERY = "#!/bin/sh\necho 'have ii '\necho 'gone rc '\ncat $LOG/installed 2>/dev/null\nexit 0\n"
APT_GET = """#!/bin/sh
echo "apt-get $*" >> $LOG/calls
case "$*" in *install*) for word; do echo "$word ii " >> $LOG/installed; done ;; esac
"""
APT_CACHE = """#!/bin/sh
case "$2" in need|browser) echo "$2:"; echo "  Candidate: (none)" ;; *) echo "$2:"; echo "  Candidate: 1.0" ;; esac
yes "  a long table of versions" | head -n 20000
"""
PYTHON = f"""#!/bin/sh
case "$1 $2" in
"-m venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo "venv" >> $LOG/calls
	printf '#!/bin/sh\\necho "kbench $*" >> $LOG/calls\\n' > .venv/bin/kbench; chmod +x .venv/bin/kbench ;;
"-m pip") echo "pip $*" >> $LOG/calls ;;
*) [ "$2" = "import pip" ] && exit 1; exec {sys.executable} "$@" ;;
esac
"""


class Tree:
    """A checkout with stand-ins first on PATH."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "tools").mkdir()
        shutil.copy(ROOT / "tools" / "setup", path / "tools" / "setup")
        (path / "tools" / "packages.txt").write_text(PACKAGES)
        (path / "pyproject.toml").write_text("")
        for name in ("core", "kmods", "userspace", "stubs", "log"):
            (path / name).mkdir()
        (path / "core" / "x.c").write_text("")
        (path / "debian").write_text("ID=debian\n")
        (path / "fedora").write_text("ID=fedora\n")
        for name, text in {
            "dpkg-query": DPKG_QUERY,
            "apt-get": APT_GET,
            "apt-cache": APT_CACHE,
            "python3": PYTHON,
        }.items():
            stub = path / "stubs" / name
            stub.write_text(text)
            stub.chmod(0o755)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.path / "tools" / "setup", *arguments],
            env={
                "PATH": f"{self.path / 'stubs'}:/usr/bin:/bin",
                "LOG": str(self.path / "log"),
                "OS_RELEASE": str(self.path / "debian"),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[str]:
        log = self.path / "log" / "calls"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.mark.needs_root
def test_only_what_is_missing_is_shown_then_installed(tree: Tree) -> None:
    done = tree.run("run")
    assert done.returncode == 0, done.stderr
    assert "missing: need|other (builds things)" in done.stdout
    calls = tree.calls()
    assert calls[0].endswith("update")
    assert calls[1].endswith("other") and "--no-install-recommends" in calls[1] and "have" not in calls[1]
    assert any(call.startswith("pip") and call.endswith("--editable .") for call in calls)
    assert calls[-1] == "kbench build"


@pytest.mark.needs_root
def test_a_second_start_does_nothing_and_is_quick(tree: Tree) -> None:
    assert tree.run("test").returncode == 0
    before = tree.calls()
    start = time.monotonic()
    again = tree.run("test")
    assert time.monotonic() - start < 1.0
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert tree.run("run").stdout == ""  # the environment of the tests has all that a run needs
    assert tree.calls() == before


@pytest.mark.needs_root
def test_changed_requirements_and_sources_are_noticed(tree: Tree) -> None:
    tree.run("run")
    count = len(tree.calls())
    (tree.path / "pyproject.toml").write_text("# changed")
    tree.run("run")
    assert [call.split()[0] for call in tree.calls()[count:]] == ["venv", "pip"]
    count = len(tree.calls())
    later = time.time() + 5
    os.utime(tree.path / "core" / "x.c", (later, later))
    tree.run("run")
    assert tree.calls()[count:] == ["kbench build"]


@pytest.mark.needs_root
def test_tests_go_without_a_weak_package_that_is_not_offered(tree: Tree) -> None:
    done = tree.run("test")
    assert done.returncode == 0, done.stderr
    assert "going without browser" in done.stdout
    assert any(call.endswith("other tested") for call in tree.calls())


@pytest.mark.needs_root
def test_headers_are_installed_where_the_kernel_has_modules(tree: Tree) -> None:
    modules = tree.path / "modules"
    script = tree.path / "tools" / "setup"
    text = script.read_text()
    assert "modules=/lib/modules/$kernel\n" in text
    script.write_text(text.replace("modules=/lib/modules/$kernel\n", f"modules={modules}\n"))
    headers = f"headers-{os.uname().release}"
    tree.run("run")
    assert headers not in " ".join(tree.calls())
    modules.mkdir()
    assert tree.run("run").returncode == 0
    assert tree.calls()[-1].endswith(headers)
    (modules / "build").mkdir()
    count = len(tree.calls())
    tree.run("run")
    assert len(tree.calls()) == count


def test_elsewhere_one_line_says_what_to_install(tree: Tree) -> None:
    done = tree.run("run", OS_RELEASE=str(tree.path / "fedora"))
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert "fedora" in line and "have need|other" in line
    assert tree.calls() == []


def test_elsewhere_a_library_is_found_by_its_file(tree: Tree) -> None:
    listed = (tree.path / "tools" / "packages.txt").read_text()
    (tree.path / "tools" / "packages.txt").write_text(listed + LIBRARY.replace("PLACE", str(tree.path)))
    done = tree.run("run", OS_RELEASE=str(tree.path / "fedora"))
    assert done.returncode == 3 and "lib@" in done.stderr
    (tree.path / "lib64").mkdir()
    (tree.path / "lib64" / "libx.so").touch()
    done = tree.run("run", OS_RELEASE=str(tree.path / "fedora"))
    assert done.returncode == 3 and "lib@" not in done.stderr


def test_without_root_one_line_says_what_to_install(tree: Tree) -> None:
    text = (tree.path / "tools" / "setup").read_text()
    assert "EUID != 0" in text
    (tree.path / "tools" / "setup").write_text(text.replace("EUID != 0", "1"))
    done = tree.run("run")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert "not root" in line and "need|other" in line
    assert tree.calls() == []


def test_an_old_python_is_refused(tree: Tree) -> None:
    old = tree.path / "stubs" / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    done = tree.run("run")
    assert done.returncode == 3
    assert "Python 3.9.2 is too old" in done.stderr
    assert tree.calls() == []


def test_a_wrong_word_is_refused(tree: Tree) -> None:
    assert tree.run("rum").returncode == 2
