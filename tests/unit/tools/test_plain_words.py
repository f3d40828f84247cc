"""The check of words finds what readers stumble over, and compares it with the baseline by file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tools import plain_words
from tools.plain_words import Finding, beyond, checked_files, find, main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "sentence",
    [
        "Who is early waits.",
        "The queue is full. What waits is dropped.",
        "Nobody is disturbed, whoever comes.",
        "The client is told.",
        "It closes so many clients.",
        "All nodes but for one.",
        "One question to Redis.",
        "- **A verdict** is kept.",
    ],
)
def test_words_to_replace_are_found_in_documents(sentence: str) -> None:
    """Each sentence has a finding with its line and a replacement."""
    found = find("docs/page.md", f"# Title\n\n{sentence}\n")
    assert found
    assert all(each.line == 3 and each.instead for each in found)


@pytest.mark.parametrize(
    "text",
    [
        "A client that arrives early waits.\n",
        "Who may connect? A client with a token.\n",
        "The setting `nobody` and the label `verdict`.\n",
        "```\nnobody\n```\n",
        "    nobody --help\n",
        "It takes so long that the client closes.\n",
    ],
)
def test_plain_sentences_and_code_in_documents_are_not_found(text: str) -> None:
    """Plain words, questions to the reader, and code have no finding."""
    assert find("docs/page.md", text) == []


def test_strings_and_comments_of_code_are_checked_and_names_are_not() -> None:
    """A docstring, a message and a comment have findings; a name has none."""
    text = '"""One knock."""\nverdict = "two guests"  # nobody\nguests = f"for good {verdict}"\n'
    found = [(each.line, each.words) for each in find("node/module.py", text)]
    assert found == [(1, "knock"), (2, "guests"), (2, "nobody"), (3, "for good")]


def test_a_file_may_have_fewer_findings_than_the_baseline_and_not_more() -> None:
    """Findings are compared as numbers of a file."""
    assert beyond({"a.py": 2}, {"a.py": 2, "b.py": 1}) == set()
    assert beyond({"a.py": 1}, {"a.py": 2}) == set()
    assert beyond({"a.py": 3}, {"a.py": 2, "b.py": 1}) == {"a.py"}


def test_a_module_that_is_split_takes_its_findings_along() -> None:
    """A new module may have as many as others have lost; a new document may have none."""
    assert beyond({"a.py": 1, "new.py": 2}, {"a.py": 3}) == set()
    assert beyond({"a.py": 1, "new.py": 3}, {"a.py": 3}) == {"new.py"}
    assert beyond({"a.py": 1, "new.md": 1}, {"a.py": 3}) == {"new.md"}


def test_the_baseline_only_shrinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written with fewer findings, and not with more."""
    baseline = tmp_path / "baseline.json"
    monkeypatch.setattr(plain_words, "BASELINE", baseline)
    monkeypatch.setattr(plain_words, "ROOT", tmp_path)
    monkeypatch.setattr(plain_words, "checked_files", lambda: ["a.py"])
    module = tmp_path / "a.py"
    baseline.write_text(json.dumps({"a.py": 2}))

    module.write_text("# nobody\n")
    assert main(["--update"]) == 0
    assert json.loads(baseline.read_text()) == {"a.py": 1}

    module.write_text("# nobody\n# nobody\n")
    assert main(["--update"]) == 1
    assert json.loads(baseline.read_text()) == {"a.py": 1}


def test_written_documents_have_no_findings() -> None:
    """Only documents that are generated from docstrings and values are in the baseline."""
    generated = {
        "docs/configuration.md",
        "charts/realtime-cluster/README.md",
        "charts/realtime-operator/README.md",
    }
    found: list[Finding] = []
    for path in checked_files():
        if path.endswith(".md") and path not in generated:
            found += find(path, (plain_words.ROOT / path).read_text(encoding="utf-8"))
    assert found == []
