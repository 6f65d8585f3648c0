"""A process of its own that judges a body, and takes its time and its memory with it.

It gets the body on its standard input and answers with a pickle: the model, or the details of
the refusal. Nobody else writes there.
"""

import asyncio
import logging
import os
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

_log = logging.getLogger(__name__)


async def judge_apart(model: type[ModelT], body: bytes) -> ModelT:
    """What `read_body` makes of the body.

    Raises:
        RequestError: invalid_payload; upstream_failed where the process died.
    """
    exit_code, answer = await _run(model.__name__, body)
    if exit_code != 0 or not answer:
        _log.error("bodies: the process that judges large ones ended with code %d", exit_code)
        raise RequestError(ErrorCode.UPSTREAM_FAILED, status=503, retry_after_s=1)
    found = pickle.loads(answer)  # noqa: S301 - our own process wrote it
    if not isinstance(found, model):
        raise RequestError(ErrorCode.INVALID_PAYLOAD, details=found)
    return found


async def _run(model_name: str, body: bytes) -> tuple[int, bytes]:
    """The process's exit code and its answer."""
    process = await asyncio.create_subprocess_exec(
        # The modules are those of this process, and none that lie where it was started.
        *(sys.executable, "-P", "-c", _PROGRAM, model_name),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        start_new_session=True,
    )
    answer = b""
    try:
        with suppress(RuntimeError):  # uvloop's, where the process is gone before the body is sent
            answer, _ = await process.communicate(body)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    return await process.wait(), answer


def judge_input() -> None:
    """The process itself; its argument is the name of the model."""
    models = {endpoint.request.__name__: endpoint.request for endpoint in ENDPOINTS}
    try:
        answer: object = read_body(models[sys.argv[1]], sys.stdin.buffer.read())
    except RequestError as error:
        answer = error.details
    sys.stdout.buffer.write(pickle.dumps(answer))
