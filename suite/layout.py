"""How `plan`, `status` and `why` set what they say: a column of labels, counts under one another, 100 columns at most."""

from __future__ import annotations

import textwrap

WIDTH = 100
LABEL = 13  # columns of a label
_NAME, _COUNT = 17, 7  # columns of what is counted, and of its number


def labelled(label: str, text: str, columns: int = LABEL) -> str:
    """Write a label and a text beside it; a text that is too long goes on below itself.

    >>> print(labelled("files", "12 in 3 commits"))
    files        12 in 3 commits
    """
    return hanging(label.ljust(columns), text)


def tallied(name: str, count: int, text: str) -> str:
    """Write a number of things under a label, and what there is to say about them.

    >>> print(tallied("completed", 12, "ran to its budget"))
      completed             12   ran to its budget
    """
    return hanging(f"  {name:<{_NAME}}{count:>{_COUNT}}   ", text)


def listed(things: list[str], most: int = 3) -> str:
    """Write a list of things, the first ones by name.

    >>> listed(["a", "b", "c", "d", "e"]), listed(["a", "b"])
    ('a, b, c and 2 more', 'a, b')
    """
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(things[:most]) + more


def hanging(start: str, text: str) -> str:
    """Write a text behind a start; what does not fit goes on below itself. Paths and keys are never broken."""
    width = WIDTH - len(start)
    lines = textwrap.wrap(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False)
    return "\n".join([(start + (lines[0] if lines else "")).rstrip(), *(" " * len(start) + line for line in lines[1:])])
