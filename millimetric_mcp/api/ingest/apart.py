"""Judging a body in a process of its own, which takes its time and its memory with it.

The process gets the body on its standard input and answers with a pickle: the model, or the
details of the refusal. Nobody else writes there.
"""

import asyncio
import pickle
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from typing import TypeVar

from pydantic import BaseModel

from millimetric_mcp.api.ingest.validate import read_body
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import ENDPOINTS
from millimetric_mcp.errors import RequestError

ModelT = TypeVar("ModelT", bound=BaseModel)

_PROGRAM = f"from {__name__} import judge_input; judge_input()"


async def judge_apart(model: type[ModelT], body: bytes) -> ModelT:
    """What `read_body` makes of the body.

    Raises:
        RequestError: invalid_payload; upstream_failed where the process died.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM, model.__name__),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        start_new_session=True,
    )
    try:
        answer, _ = await process.communicate(body)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    if await process.wait() != 0:
        raise RequestError(ErrorCode.UPSTREAM_FAILED, status=503, retry_after_s=1)
    found = pickle.loads(answer)  # noqa: S301 - our own process wrote it
    if not isinstance(found, model):
        raise RequestError(ErrorCode.INVALID_PAYLOAD, details=found)
    return found


def judge_input() -> None:
    """The process itself; its argument is the name of the model."""
    models = {endpoint.request.__name__: endpoint.request for endpoint in ENDPOINTS}
    try:
        answer: object = read_body(models[sys.argv[1]], sys.stdin.buffer.read())
    except RequestError as error:
        answer = error.details
    sys.stdout.buffer.write(pickle.dumps(answer))
