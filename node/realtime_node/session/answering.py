"""Answering one command: what executes it, and what the client is told of what came of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from realtime_node.errors import BackendError, BackplaneError, Disconnect, ReplyError
from realtime_node.protocol import codes
from realtime_node.protocol.messages import Command, ErrorBody, Reply
from realtime_node.session.commands import EXECUTE, method_of
from realtime_node.session.lifecycle import State
from realtime_node.session.outcome import Execute

if TYPE_CHECKING:
    from realtime_node.session.session import Session

logger = logging.getLogger(__name__)


async def answer(session: Session, command: Command) -> None:
    """Execute one command and write its reply, whatever becomes of it."""
    method, request = method_of(command)
    if session.state is State.REFUSED:
        return  # sent ahead, behind the connect that was refused
    metrics = session.services.metrics
    metrics.commands.labels(method).inc()
    execute = _permitted(session, command, method)
    try:
        outcome = await execute(session, command.id, request)
    except ReplyError as error:
        body = ErrorBody(code=error.code, message=error.message, temporary=error.temporary)
    except (BackplaneError, BackendError) as error:
        # A backend that fails is told of by its guard, once.
        level = logging.WARNING if isinstance(error, BackplaneError) else logging.DEBUG
        logger.log(level, "client %s: %s failed: %s", session.client_id, method, error)
        body = ErrorBody(code=codes.INTERNAL.code, message=codes.INTERNAL.message, temporary=True)
    else:
        if outcome.reply is not None:
            session.send_reply(outcome.reply)
        if outcome.then is not None and session.state is not State.CLOSED:
            await outcome.then()
        return
    metrics.errors.labels(codes.label_of(body.code)).inc()
    session.send_reply(Reply(id=command.id, error=body))
    if method == "connect":
        session.refuse()


def _permitted(session: Session, command: Command, method: str) -> Execute:
    """Return what executes a command, if its turn in the session's life has come.

    Raises `Disconnect` (3501) for a first command that is not connect and a connect that is
    not first, for a command without id (only `send` has none), and for an unknown one.
    """
    execute = EXECUTE.get(method)
    if execute is None:
        raise Disconnect(*codes.BAD_REQUEST, detail="unknown command")
    if not command.id and command.send is None:
        raise Disconnect(*codes.BAD_REQUEST, detail="command without id")
    if (method == "connect") is (session.state is State.CONNECTED):
        raise Disconnect(*codes.BAD_REQUEST, detail=f"{method} while {session.state.value}")
    return execute
