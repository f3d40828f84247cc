"""Finds, in the source of a package, tasks and callbacks whose exceptions nobody would see.

A task that raises ends in silence; a callback that raises is a line in the log of the event loop,
and what it had to do next never happens. So each one is started through `supervision`, which runs
it again or counts it, or is awaited by whoever started it. The source alone tells only the first:
`unsupervised_calls` returns everything else, and a test names the reason for each row that stays.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Final

TASKS: Final = frozenset({"create_task", "ensure_future", "TaskGroup"})
"""These start tasks; `supervise` is what should stand there."""
CALLBACKS: Final = {
    "call_soon": 0,
    "call_soon_threadsafe": 0,
    "call_later": 1,
    "call_at": 1,
    "add_done_callback": 0,
    "add_signal_handler": 1,
    "add_reader": 1,
    "add_writer": 1,
}
"""These register callbacks, each the argument of this index; it should be `guarded(…)`."""
PROTOCOL_CALLBACKS: Final = frozenset(
    {
        "connection_made",
        "data_received",
        "get_buffer",
        "buffer_updated",
        "datagram_received",
        "error_received",
        "eof_received",
        "pause_writing",
        "resume_writing",
        "connection_lost",
    }
)
"""The event loop calls these methods of a protocol: all that one does should be in `with guard(…)`,
or in a `try` that takes every `Exception`."""
GUARDS: Final = frozenset({"guard", "guarded"})


def unsupervised_calls(package: Path) -> list[str]:
    """List what is not supervised, as `path of the module, function: what it calls`, sorted.

    A second one of a kind in one function ends with ` #2`.
    """
    found: list[str] = []
    for path in sorted(package.rglob("*.py")):
        module = path.relative_to(package).as_posix()
        search = _Search(ast.parse(path.read_text()))
        found += [f"{module}, {place}" for place in search.found]
    counts: Counter[str] = Counter()
    rows = []
    for row in found:
        counts[row] += 1
        rows.append(row if counts[row] == 1 else f"{row} #{counts[row]}")
    return sorted(rows)


class _Search(ast.NodeVisitor):
    """One walk through a module."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[str] = []
        self._scope: list[str] = []
        self._guarded_names = {
            ast.unparse(target)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign | ast.AnnAssign) and _is_guarded(node.value)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        }
        self.visit(tree)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Look at the callbacks of a protocol; those of `typing.Protocol` have no bodies."""
        self._scope.append(node.name)
        for method in node.body:
            if (
                isinstance(method, ast.FunctionDef)
                and method.name in PROTOCOL_CALLBACKS
                and not _is_contained(method)
            ):
                self._note(f"{method.name}")
        self.generic_visit(node)
        self._scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Remember where the walk is."""
        self._enter(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """Remember where the walk is."""
        self._enter(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Look at what is called."""
        name = _name_of(node.func)
        is_task = name in TASKS
        if is_task or (name in CALLBACKS and not self._is_supervised(node, CALLBACKS[name])):
            self._note(name)
        self.generic_visit(node)

    def _enter(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._scope.append(node.name)
        self.generic_visit(node)
        self._scope.pop()

    def _is_supervised(self, call: ast.Call, index: int) -> bool:
        if len(call.args) <= index:
            return False
        callback = call.args[index]
        return _is_guarded(callback) or ast.unparse(callback) in self._guarded_names

    def _note(self, what: str) -> None:
        self.found.append(f"{'.'.join(self._scope) or 'module'}: {what}")


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_guarded(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Call) and _name_of(value.func) == "guarded"


def _is_contained(method: ast.FunctionDef) -> bool:
    """Tell whether nothing that a method does can raise out of it."""
    return all(_cannot_raise(step) for step in method.body)


def _cannot_raise(step: ast.stmt) -> bool:
    if isinstance(step, ast.With):
        return any(_is_guard(item.context_expr) for item in step.items)
    if isinstance(step, ast.Try):
        is_all_inside = not step.orelse and not step.finalbody
        return is_all_inside and any(_takes_all(handler) for handler in step.handlers)
    return _does_nothing(step)


def _is_guard(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and _name_of(value.func) in GUARDS


def _takes_all(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or _name_of(handler.type) in ("Exception", "BaseException")


def _does_nothing(step: ast.stmt) -> bool:
    """Tell whether a statement is a docstring, `pass`, `...` or `del argument`."""
    return isinstance(step, ast.Pass | ast.Delete) or (
        isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant)
    )
