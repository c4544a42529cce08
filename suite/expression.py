"""Competitors as one writes them on the command line: `sgd`, `sgd(lr=0.1)`, `wrap(base=adam(lr=1e-3),mode=a11)`."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import Field
from typing import Any

_PLAIN = {"float": float, "int": int, "bool": bool, "str": str, "None": type(None)}
_MARK = "_written"  # of an instance: no field, so that what it is equal to and its spec do not depend on it
_WORDS = {"true": True, "false": False, "none": None, "inf": float("inf"), "nan": float("nan")}


class Word(str):
    """An identifier without quotes: the name of a competitor, a text, or true, false, none, inf, nan."""


def read_call(text: str) -> dict[str, Any]:
    """Return the name and the fields that an expression gives, nested ones in the same form.

    >>> read_call("wrap(base=adam(lr=1e-3), mode=a11)")
    {'name': 'wrap', 'fields': {'base': {'name': 'adam', 'fields': {'lr': 0.001}}, 'mode': 'a11'}}

    Raises:
        ValueError: the text is not of that form.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"cannot read {text!r}; expected a name, or a name with fields such as sgd(lr=0.1)") from error
    call = _value(node, text)
    if isinstance(call, Word):
        return {"name": str(call), "fields": {}}
    if not isinstance(call, dict) or call.keys() != {"name", "fields"}:
        raise ValueError(f"cannot read {text!r}; expected a name, or a name with fields such as sgd(lr=0.1)")
    return call


def fitted(owner: str, field: Field, value: Any) -> Any:
    """Return a value in the plain type that the field declares.

    Raises:
        ValueError: it has another type; fields of other than plain types take anything.
    """
    annotation = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    names = [name.strip() for name in annotation.split("|")]
    if isinstance(value, Word):
        value = str(value) if "str" in names else _WORDS.get(value.lower(), str(value))
    if (item := re.fullmatch(r"tuple\[(\w+), \.\.\.\]", annotation)) and item[1] in _PLAIN:
        return _sequence(owner, field.name, value, item[1])
    if not set(names) <= _PLAIN.keys() or any(type(value) is _PLAIN[name] for name in names):
        return value
    if "float" in names and type(value) is int:
        return float(value)
    raise ValueError(f"{field.name} of {owner} must be {annotation.replace('|', 'or')}: {value!r}")


def _sequence(owner: str, name: str, value: Any, kind: str) -> Any:
    """Return a tuple of values of one plain type; whole numbers may stand for others."""
    kinds = (float, int) if kind == "float" else (_PLAIN[kind],)
    if isinstance(value, tuple) and all(type(item) in kinds for item in value):
        return value
    raise ValueError(f"{name} of {owner} must be values of type {kind}, as in {name}=(1,2) or {name}=(1,): {value!r}")


def chosen(owner: str, name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Return a value as one of the choices of its field.

    >>> chosen("lbfgs", "line_search", Word("none"), ("none", "strong_wolfe"))
    'none'

    Raises:
        ValueError: it is none of them; the message names one that comes near, or all.
    """
    meanings = [str(value), _WORDS.get(value.lower())] if isinstance(value, Word) else [value]
    for choice in choices:
        if any(type(choice) is type(meaning) and choice == meaning for meaning in meanings):
            return choice
    close = difflib.get_close_matches(str(value), list(map(str, choices)), n=2)
    is_clear = len({difflib.SequenceMatcher(None, word, str(value)).ratio() for word in close}) == len(close)
    hint = near(str(value), close) if is_clear else ""  # "ab9" is as near to "ab1" as to "ab2"
    raise ValueError(f"unknown {name} {value!r} of {owner}; {hint or f'expected one of {_listed(choices)}'}")


def remember(competitor: Any, call: Mapping[str, Any]) -> None:
    """Note on a new instance, and on those nested in it, which fields the expression gave that it was built from."""
    object.__setattr__(competitor, _MARK, frozenset(call["fields"]))
    for name, value in call["fields"].items():
        held = getattr(competitor, name)
        pairs = zip(held, value, strict=True) if isinstance(value, tuple) else [(held, value)]
        for instance, part in pairs:
            if isinstance(part, dict):
                remember(instance, part)


def written(competitor: Any) -> frozenset[str]:
    """Return the fields that the expression of an instance gave; a copy by `dataclasses.replace` knows of none."""
    return getattr(competitor, _MARK, frozenset())


def near(name: str, known: Sequence[str]) -> str:
    """Return a question about the known name that comes nearest; empty if none does."""
    found = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {found[0]!r}?" if found else ""


def _listed(choices: Sequence[Any]) -> str:
    return ", ".join(map(str, choices))


def _value(node: ast.expr, text: str) -> Any:
    """Return the value of one part of an expression."""
    if isinstance(node, ast.Name):
        return Word(node.id)
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_value(item, text) for item in node.elts)
    if ast.unparse(node) == "-inf":
        return float("-inf")
    return _call(node, text) if isinstance(node, ast.Call) else _literal(node, text)


def _call(node: ast.Call, text: str) -> dict[str, Any]:
    if not isinstance(node.func, ast.Name):
        raise ValueError(f"{ast.unparse(node.func)!r} is not the name of a competitor in {text!r}")
    if node.args or any(keyword.arg is None for keyword in node.keywords):
        raise ValueError(f"fields are given by name, as in {node.func.id}(lr=0.1): {text!r}")
    return {"name": node.func.id, "fields": {str(k.arg): _value(k.value, text) for k in node.keywords}}


def _literal(node: ast.expr, text: str) -> Any:
    try:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):  # weights are often fractions
            return ast.literal_eval(node.left) / ast.literal_eval(node.right)
        return ast.literal_eval(node)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"{ast.unparse(node)!r} is neither a value nor a competitor in {text!r}") from error
