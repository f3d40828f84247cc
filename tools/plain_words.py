"""Checks that documents, docstrings, comments and messages use the field's words.

    python -m tools.plain_words            list findings beyond the baseline; exit code 1 if any
    python -m tools.plain_words --update   write the baseline anew: it may only shrink

Each row of `RULES` is a pattern and its replacement. `docs/glossary.md` lists the project's own
terms. Of Python files, docstrings, comments and string literals are checked; names are not, since
renaming is a change of code. Text within backquotes and code blocks is code, and skipped.

The baseline has the number of findings of each file that has any, so that moving a line is no new
finding. Files may have fewer. A Python file that the baseline does not have, because a module was
split or renamed, may have as many as the other files have lost. Documents have none, except those
that are generated from docstrings.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
BASELINE: Final = ROOT / "tools" / "plain_words_baseline.json"

_CHECKED: Final = ("node", "operator", "tools", "docs", "charts", "*.md")
_UNCHECKED: Final = {"tools/plain_words.py", "docs/glossary.md"}


class Rule(NamedTuple):
    """Words that a reader stumbles over, and the plain ones."""

    pattern: str
    """A regular expression for words in lower case, within or at the start of a sentence."""

    instead: str


def _opening(words: str) -> str:
    """Match words that begin a sentence which is no question."""
    return rf"(?:^|(?<=[.:;!] )){words}\b(?![^.?!]*\?)"


RULES: Final = (
    Rule(_opening("Who"), "name the subject: 'A client that …', 'A node that …'"),
    Rule(_opening("What"), "name the subject: 'Messages that …', 'Settings that …'"),
    Rule(r"(?i:\bwhoever\b)", "'a client that', 'a caller that', 'anyone who'"),
    Rule(r"(?i:\bwhatever\b)", "'any', 'regardless of', 'everything that'"),
    Rule(r"(?i:\bnobody\b)", "'no client', 'no node', 'no other task'"),
    Rule(
        r"(?i:\b(?:is|are|was|were|be|being|been) told\b)", "'is notified', 'receives', 'reports'"
    ),
    Rule(r"(?i:\bof ours\b)", "'our', 'a bug in the node'"),
    Rule(r"(?i:\bthe team's\b)", "'your', 'the backend'"),
    Rule(r"(?i:\bso (?:many|much|long) (?!as\b|that\b))", "'that many', 'that much', 'this'"),
    Rule(r"(?i:\bbut for\b)", "'except'"),
    Rule(r"(?i:\b(?:is|are|was|were) other\b)", "'differs'"),
    Rule(r"(?i:\bquestions?\b)", "'request', 'lookup', 'call'"),
    Rule(r"(?i:\bknock(?:s|ed|ing)?\b)", "'handshake', 'check'"),
    Rule(r"(?i:\bguests?\b)", "'pending handshake', 'waiting client'"),
    Rule(r"(?i:\bpassengers?\b)", "'waiter'"),
    Rule(r"(?i:\boffenders?\b)", "'slow client'"),
    Rule(r"(?i:\bleash\b)", "'parent-death signal'"),
    Rule(r"(?i:\bchores?\b)", "'retry worker', 'pending work'"),
    Rule(r"(?i:\bverdicts?\b)", "'decision', 'cached response'"),
    Rule(r"(?i:\bdepartures?\b)", "'leave', 'pending leave'"),
    Rule(r"(?i:\b(?:bury|buries|buried|burial)\b)", "'cleaned up'"),
    Rule(r"(?i:\bincarnations?\b)", "'restart counter'"),
    Rule(r"(?i:\bdoubt(?:s|ed|ful)?\b)", "'unverified', 'possible loss'"),
    Rule(r"(?i:\bwaiting room\b)", "'handshake queue'"),
    Rule(r"(?i:\bvictims?\b)", "'node to remove'"),
    Rule(r"(?i:\bfor good\b)", "'permanently', 'until restarted'"),
)

_ANY_RULE: Final = re.compile("|".join(rule.pattern for rule in RULES))
_EACH_RULE: Final = tuple((re.compile(rule.pattern), rule.instead) for rule in RULES)
_CODE: Final = re.compile(r"`[^`]*`|\]\([^)]*\)|\{[^}]*\}")
"""Code, the target of a link, and a value within a message."""


class Finding(NamedTuple):
    """A place where the words of a rule stand."""

    path: str
    line: int
    words: str
    instead: str


def find(path: str, text: str) -> list[Finding]:
    """Return the findings in one file, in the order of its lines."""
    passages = _python_passages(text) if path.endswith(".py") else _markdown_passages(text)
    found = []
    for line, passage in passages:
        prose = _CODE.sub("``", passage)
        if _ANY_RULE.search(prose):
            found += [
                Finding(path, line, match.group().strip(), instead)
                for pattern, instead in _EACH_RULE
                for match in pattern.finditer(prose)
            ]
    return found


def _python_passages(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of comments and strings, each with its number."""
    kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            for number, line in enumerate(token.string.splitlines(), start=token.start[0]):
                yield number, line.strip().lstrip("#\"'").strip()


def _markdown_passages(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines outside of code blocks, each with its number."""
    is_code = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code and not line.startswith("    "):
            yield number, line.strip().lstrip("#*->| ").strip()


def beyond(counts: Mapping[str, int], baseline: Mapping[str, int]) -> set[str]:
    """Return the files that have more findings than the baseline allows, both by path."""
    grown = {path for path in counts if path in baseline and counts[path] > baseline[path]}
    lost = sum(max(0, allowed - counts.get(path, 0)) for path, allowed in baseline.items())
    new = {path for path in counts if path not in baseline}
    modules = {path for path in new if path.endswith(".py")}
    if sum(counts[path] for path in modules) <= lost:
        new -= modules
    return grown | new


def checked_files() -> list[str]:
    """Return the paths of product code, tools and documents; tests are not checked."""
    listed = subprocess.run(  # noqa: S603 - fixed arguments
        ["git", "ls-files", *_CHECKED],  # noqa: S607 - git is where the developer has it
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    return sorted({path for path in listed if path.endswith((".py", ".md"))} - _UNCHECKED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.plain_words")
    parser.add_argument("--update", action="store_true", help="write the baseline anew")
    options = parser.parse_args(arguments)
    paths = [path for path in checked_files() if (ROOT / path).is_file()]
    findings = [each for path in paths for each in find(path, (ROOT / path).read_text("utf-8"))]
    counts = Counter(each.path for each in findings)
    baseline = json.loads(BASELINE.read_text("utf-8")) if BASELINE.exists() else dict(counts)
    over = beyond(counts, baseline)
    for each in findings:
        if each.path in over:
            sys.stdout.write(f"{each.path}:{each.line}: {each.words!r}: write {each.instead}\n")
    for path in sorted(over):
        allowed = baseline.get(path, 0)
        sys.stdout.write(f"{path}: {counts[path]} findings, {allowed} in the baseline\n")
    if options.update and not over:
        BASELINE.write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n", "utf-8")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
