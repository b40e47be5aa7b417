"""YAML within limits, as plain data: null, booleans, numbers, texts, lists and mappings.

The text is composed into nodes, which are counted while they are made; what they unfold to is computed on the nodes, each
looked at once; and only then are values built. ``5e-4`` and ``1e6`` are text to PyYAML (YAML 1.1 wants a dot and a sign);
here they are numbers, and a whole number written with an exponent is an integer, so that ``env_steps: 1e6`` means what it
says.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from rllib_reborn.parsing.errors import ParseError
from rllib_reborn.short_repr import short_repr

#: A resolved experiment has 6,000 bytes and 200 values.
MAX_BYTES = 256_000
MAX_VALUES = 10_000
MAX_DEPTH = 20
MAX_ALIASES = 50
MAX_MERGES = 50
#: Characters of one number. Python converts no more than 4,300 digits, and with base 60 in quadratic time.
MAX_DIGITS = 100

_EXPONENT = "!exponent_number"
_EXPONENT_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")
_CORE = "tag:yaml.org,2002:"
_STR, _SEQ, _MAP, _MERGE, _TIMESTAMP = (_CORE + name for name in ("str", "seq", "map", "merge", "timestamp"))
_NUMBERS = frozenset({_CORE + "int", _CORE + "float", _EXPONENT})
_OF_SCALARS = _NUMBERS | {_STR, _CORE + "bool", _CORE + "null"}
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    """SafeLoader that counts what it composes."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.aliases = self.merges = self.nodes = self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > MAX_ALIASES:
                raise _problem(f"has more than {MAX_ALIASES} aliases", mark)
            return super().compose_node(parent, index)
        self.nodes += 1
        if self.nodes > MAX_VALUES:
            raise _problem(f"has more than {MAX_VALUES:,} values", mark)
        if self.depth == MAX_DEPTH:
            raise _problem(f"is nested deeper than {MAX_DEPTH} levels", mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is not None:
            self._check_tag(node)
        return node

    def _check_tag(self, node: yaml.Node) -> None:
        """Raise where a value would be no plain data, or cannot be built."""
        if node.tag == _MERGE and isinstance(node, yaml.ScalarNode):
            self.merges += 1
            if self.merges > MAX_MERGES:
                raise _problem(f"has more than {MAX_MERGES} merges (<<)", node.start_mark)
            return
        wanted = {yaml.ScalarNode: _OF_SCALARS, yaml.SequenceNode: {_SEQ}, yaml.MappingNode: {_MAP}}[type(node)]
        if node.tag == _TIMESTAMP:
            raise _problem(
                f"has the date {short_repr(node.value)}, which no setting takes; put it in quotes", node.start_mark
            )
        if node.tag not in wanted:
            raise _problem(f"has {short_repr(node.tag)} here; only plain data is read, never objects", node.start_mark)
        if not isinstance(node, yaml.ScalarNode):
            return
        if _SURROGATE.search(node.value):
            raise _problem("has half a character (a surrogate)", node.start_mark)
        if node.tag in _NUMBERS and len(node.value) > MAX_DIGITS:
            raise _problem(f"has a number of more than {MAX_DIGITS} characters", node.start_mark)
        if node.tag != _STR:
            # An explicit tag, as in ``!!int x``, may promise what the text does not hold.
            resolved = self.resolve(yaml.ScalarNode, node.value, (True, False))
            if resolved != node.tag and not {resolved, node.tag} <= _NUMBERS:
                raise _problem(f"has {short_repr(node.value)} with the tag {node.tag}", node.start_mark)


def _construct_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float:
    number = float(loader.construct_scalar(node))
    if not math.isfinite(number):
        raise _problem(f"has the number {node.value}, which is too large", node.start_mark)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    number: float = loader.construct_yaml_float(node)
    if math.isinf(number) and "inf" not in node.value.lower():
        raise _problem(f"has the number {node.value}, which is too large", node.start_mark)
    return number


class _Dumper(yaml.SafeDumper):
    """Writes what the loader reads: text that looks like such a number is put in quotes."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(_EXPONENT, _EXPONENT_NUMBER, list("-+.0123456789"))
_Loader.add_constructor(_EXPONENT, _construct_number)
_Loader.add_constructor(_CORE + "float", _construct_float)


def dump_yaml(data: Any, *, flow: bool = False) -> str:
    """YAML text that :func:`parse_yaml` reads back; keys stay in their order. ``flow``: on one line, in brackets."""
    if flow:
        return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=float("inf"))
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)


def parse_yaml(text: str | bytes) -> Any:
    """The plain data in ``text``.

    Args:
        text: YAML; bytes are UTF-8.

    Raises:
        ParseError: Beyond a limit of this module, not YAML, more than plain data, or a key that is given twice.
    """
    if len(text) > MAX_BYTES:
        raise ParseError(f"is larger than {MAX_BYTES:,} bytes")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ParseError(f"cannot be read: it is not UTF-8 text (byte {error.start})") from None
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_unfolded(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ParseError(
            f"is not YAML: {error.problem or 'it ends too early'}", mark.line + 1 if mark else None
        ) from None
    except yaml.YAMLError as error:
        raise ParseError(f"is not YAML: {error}") from None
    except ParseError:
        raise
    except (ValueError, OverflowError) as error:
        # The scanner converts what escapes and directives say: "\UFFFFFFFF" is no character.
        raise ParseError(f"is not YAML: {error}") from None


def _problem(problem: str, mark: yaml.Mark) -> ParseError:
    return ParseError(problem, mark.line + 1)


def _unfolds(node: yaml.Node) -> ParseError:
    return _problem(
        f"unfolds to more than {MAX_VALUES:,} values or {MAX_DEPTH} levels; check its aliases and merges",
        node.start_mark,
    )


def _check_unfolded(root: yaml.Node) -> None:
    """Raise for a key that is given twice or is no scalar, and for a tree that contains itself or is too large: aliases and
    merges make one of a small text."""
    sizes: dict[int, tuple[int, int]] = {}
    open_nodes: set[int] = set()

    def visit(node: yaml.Node) -> tuple[int, int]:
        """Values and levels that the node unfolds to."""
        if id(node) in open_nodes or len(open_nodes) > MAX_DEPTH:
            raise _unfolds(node)
        if id(node) not in sizes:
            open_nodes.add(id(node))
            below = [visit(child) for child in _children(node)]
            open_nodes.remove(id(node))
            values, levels = (1 + sum(size[0] for size in below), 1 + max((size[1] for size in below), default=0))
            if values > MAX_VALUES or levels > MAX_DEPTH:
                raise _unfolds(node)
            sizes[id(node)] = values, levels
        return sizes[id(node)]

    visit(root)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    keys: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _problem("has a key that is a list or a mapping", key.start_mark)
        if key.value in keys:
            raise _problem(f"has a mapping in which {short_repr(key.value)} is given twice", key.start_mark)
        keys.add(key.value)
        if key.tag == _MERGE and not _can_be_merged(value):
            raise _problem("merges (<<) what is no mapping", value.start_mark)
    return [child for pair in node.value for child in pair]


def _can_be_merged(value: yaml.Node) -> bool:
    if isinstance(value, yaml.SequenceNode):
        return all(isinstance(one, yaml.MappingNode) for one in value.value)
    return isinstance(value, yaml.MappingNode)
