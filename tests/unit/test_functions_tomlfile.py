# SPDX-License-Identifier: GPL-2.0-only
"""Routes and rules from TOML: the shipped examples, and a complaint with file and line for each mistake."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from kbench.errors import UsageError
from kbench.functions.model import Route, Rule
from kbench.functions.tomlfile import read_routes, read_rules

EXAMPLES = Path(__file__).parents[2] / "examples"
DEFAULT = 'default = "drop"\n'


def routes(tmp_path: Path, text: str) -> tuple[Route, ...]:
    path = tmp_path / "r.toml"
    path.write_text(text)
    return read_routes(path)


def rules(tmp_path: Path, text: str) -> tuple[tuple[Rule, ...], bool]:
    path = tmp_path / "r.toml"
    path.write_text(text)
    return read_rules(path)


def test_examples_are_good() -> None:
    by_out = {r.out for r in read_routes(EXAMPLES / "routes.toml")}
    assert by_out == {"tx", "rx", "discard"}
    read, default_accept = read_rules(EXAMPLES / "rules.toml")
    assert len(read) == 9 and not default_accept
    assert read[0] == Rule("drop", 4, None, ipaddress.IPv4Network("10.20.99.0/24"))
    assert read[3].sport == (123, 123) and read[4].dport == (1024, 65535) and read[7].protocol == 47


def test_all_ways_to_write_a_rule(tmp_path: Path) -> None:
    text = (
        DEFAULT
        + '[[rule]]\naction="accept"\nsrc="::/0"\ndport=" 10 - 20 "\nprotocol="TCP"\n[[rule]]\naction="drop"\n'
    )
    read, _ = rules(tmp_path, text)
    assert read == (Rule("accept", 6, ipaddress.IPv6Network("::/0"), None, None, (10, 20), 6), Rule("drop"))
    assert rules(tmp_path, 'default = "accept"\n') == ((), True)
    inline = DEFAULT + 'rule = [{action = "drop", protocol = 1}]\n'
    assert rules(tmp_path, inline)[0] == (Rule("drop", protocol=1),)


BAD_RULES = [
    ('[[rule]]\naction="drop"\nsrc="10.0.0.1/8"\n', 4, "did you mean 10.0.0.0/8?"),
    ('[[rule]]\naction="drop"\n\n# x\ndst="10.0.0/8"\n', 6, "'10.0.0/8' is no prefix"),
    ('[[rule]]\naction="drop"\n[[rule]]\naction="deny"\n', 5, "unknown action"),
    ('[[rule]]\naction="drop"\n[[rule]]\nprotocol="udp"\n', 4, "no action"),
    ('[[rule]]\naction="drop"\nsorce="10.0.0.0/8"\n', 4, "unknown key 'sorce' (did you mean 'src'?)"),
    ('[[rule]]\naction="drop"\ndport="2-1"\n', 4, "no range of ports"),
    ('[[rule]]\naction="drop"\ndport=65536\n', 4, "no range of ports"),
    ('[[rule]]\naction="drop"\nsport="-1"\n', 4, "no port or range"),
    ('[[rule]]\naction="drop"\nsport=true\n', 4, "no port or range"),
    ('[[rule]]\naction="drop"\ndport=80\nprotocol="icmp"\n', 5, "has no ports"),
    ('[[rule]]\naction="drop"\nprotocol=256\n', 4, "unknown protocol 256"),
    ('[[rule]]\naction="drop"\nprotocol="upd"\n', 4, "unknown protocol 'upd'"),
    ('[[rule]]\naction="drop"\nsrc="10.0.0.0/8"\ndst="::/0"\n', 5, "different IP versions"),
    ('[[rule]]\naction="drop"\nsrc="10.0.0.0/8"\nfamily=6\n', 5, "no packet can match"),
    ('[[rule]]\naction="drop"\nfamily=5\n', 4, "family is 4 or 6"),
    ('[[rule]]\naction="drop"\nsrc=10\n', 4, "a prefix in quotes"),
    ('[[rule]]\naction="drop"\nsrc="10.0.0.0/8\n', 4, ""),
    ('[[rule]]\naction="drop"\naction="drop"\n', 4, "Cannot overwrite"),
    ('[rule]\naction="drop"\n', 2, "write [[rule]] for each rule"),
    ('[[rules]]\naction="drop"\n', 2, "unknown key 'rules' (did you mean 'rule'?)"),
]


@pytest.mark.parametrize(("text", "line", "what"), BAD_RULES)
def test_a_bad_rule_is_named_by_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        rules(tmp_path, DEFAULT + text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/r.toml:{line}: "), message
    assert what in message
    assert "\n" not in message


BAD_ROUTES = [
    ('[[route]]\nprefix="10.0.0.0/8"\nout="eth0"\n', 3, "unknown way out 'eth0': use one of tx, rx, discard"),
    ('[[route]]\nprefix="10.0.0.0/8"\n', 1, "the route has no 'out'"),
    ('[[route]]\nout="tx"\n', 1, "the route has no 'prefix'"),
    ('[[route]]\nprefix="10.0.0.0/33"\nout="tx"\n', 2, "is no prefix"),
    ('[[route]]\nprefix="224.0.0.0/8"\nout="tx"\n', 2, "never forwarded"),
    ('[[route]]\nprefix="198.18.7.0/24"\nout="tx"\n', 2, "where benchmark traffic comes from"),
    ('[[route]]\nprefix="10.0.0.0/8"\nout="tx"\nmetric=3\n', 4, "unknown key 'metric'"),
]


@pytest.mark.parametrize(("text", "line", "what"), BAD_ROUTES)
def test_a_bad_route_is_named_by_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        routes(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/r.toml:{line}: ")
    assert what in str(caught.value)


def test_a_route_given_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    one = '[[route]]\nprefix = "10.0.0.0/8"\nout = "tx"\n\n'
    other = '[[route]]\nprefix = "10.0.0.0/9"\nout = "tx"\n'
    with pytest.raises(UsageError) as caught:
        routes(tmp_path, one + other + one)
    path = tmp_path / "r.toml"
    assert str(caught.value) == (
        f"{path}:9: route 10.0.0.0/8 was given before, at {path}:2: remove one of them"
    )


def test_too_many_rules(tmp_path: Path) -> None:
    one = '[[rule]]\naction = "drop"\n'
    assert len(rules(tmp_path, DEFAULT + one * 10_000)[0]) == 10_000
    with pytest.raises(UsageError, match="10001 rules: kbench compiles at most 10000"):
        rules(tmp_path, DEFAULT + one * 10_001)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothere\.toml: can't be read: No such file"):
        read_routes(tmp_path / "nothere.toml")
    (tmp_path / "r.toml").write_bytes(b"# \n\xff\n")
    with pytest.raises(UsageError, match=r"r\.toml:2: not UTF-8"):
        read_routes(tmp_path / "r.toml")
    with pytest.raises(UsageError, match="no routes"):
        routes(tmp_path, "")
    with pytest.raises(UsageError, match="default policy is missing"):
        rules(tmp_path, '[[rule]]\naction = "drop"\n')
    with pytest.raises(UsageError, match=r"r\.toml:1: the default policy"):
        rules(tmp_path, 'default = "allow"\n')
    with pytest.raises(UsageError, match=r"r\.toml:2: .*ends too early"):
        rules(tmp_path, 'default = "drop"\nrule = [')
