"""What ClickHouse's errors mean for a write: not done, refused, or unknown.

After a server's error that is in neither table below, it is unknown whether the write was done.
"Not stored" would be wrong: the sender would send the events again, and they would be twice there.
"""

import os
import re

from clickhouse_connect.driver.exceptions import Error, ProgrammingError
from urllib3 import exceptions as http

from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.errors import StoreError, StoreRefused, StoreUnavailable, StoreUncertain

RETRY_AFTER_S = 5

_STATEMENT_ERRORS = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        33,  # CANNOT_READ_ALL_DATA
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        128,  # TOO_LARGE_ARRAY_SIZE
        131,  # TOO_LARGE_STRING_SIZE
        241,  # MEMORY_LIMIT_EXCEEDED: a smaller insert may fit
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        469,  # VIOLATED_CONSTRAINT
    }
)
"""The statement itself is wrong, and nothing is written; another statement may succeed."""

_SERVER_ERRORS = frozenset(
    {
        16,  # NO_SUCH_COLUMN_IN_TABLE
        47,  # UNKNOWN_IDENTIFIER
        60,  # UNKNOWN_TABLE
        62,  # SYNTAX_ERROR
        81,  # UNKNOWN_DATABASE
        115,  # UNKNOWN_SETTING
        139,  # NO_ELEMENTS_IN_CONFIG: a macro is missing
        164,  # READONLY
        192,  # UNKNOWN_USER
        193,  # WRONG_PASSWORD
        194,  # REQUIRED_PASSWORD
        195,  # IP_ADDRESS_NOT_ALLOWED
        201,  # QUOTA_EXCEEDED
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        218,  # TABLE_IS_DROPPED
        225,  # NO_ZOOKEEPER
        242,  # TABLE_IS_READ_ONLY: its replica has lost Keeper
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        279,  # ALL_CONNECTION_TRIES_FAILED: to a shard
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        439,  # CANNOT_SCHEDULE_TASK
        497,  # ACCESS_DENIED
        516,  # AUTHENTICATION_FAILED
        577,  # INVALID_SHARD_ID
        701,  # CLUSTER_DOESNT_EXIST
        733,  # TABLE_IS_BEING_RESTARTED
        745,  # SERVER_OVERLOADED
    }
)
"""No statement is written until the server's state, or its configuration, changes."""

_TIMEOUT_EXCEEDED, _MEMORY_LIMIT, _QUERY_WAS_CANCELLED = 159, 241, 394
_LIMITS = frozenset({_TIMEOUT_EXCEEDED, _MEMORY_LIMIT, _QUERY_WAS_CANCELLED})
_ERRNO = re.compile(r"errno: (\d{1,3})\b")
_PART = re.compile(r"/(\d{6}_\d+_\d+_\d+(?:_\d+)?)/")
_LOGIN_ERRORS = frozenset({192, 193, 194, 195, 516})
_UNREACHABLE = (http.NewConnectionError, http.ConnectTimeoutError)


def as_store_error(error: Exception, *, embedded: bool) -> StoreError:
    """Return the `StoreError` for an error of the client, whose text is never quoted."""
    code = _code(error)
    if embedded and code is None and isinstance(error, ProgrammingError):
        return StoreUnavailable("the event store is closed")
    if embedded or code in _STATEMENT_ERRORS:
        return StoreRefused(f"the event store refused the statement ({error_name(error)})")
    if code in _SERVER_ERRORS:
        return StoreUnavailable(
            f"the event store can't do it now ({error_name(error)})", retry_after_s=RETRY_AFTER_S
        )
    if isinstance(_reason(error), _UNREACHABLE):
        return StoreUnavailable("the event store can't be reached", retry_after_s=RETRY_AFTER_S)
    if code is not None:
        return StoreUncertain(f"the event store failed ({error_name(error)})")
    return StoreUncertain("the event store did not answer")


def as_connection_error(error: Exception, target: StoreTarget) -> StoreUnavailable:
    """Return the error for a failed connection: a sentence for the operator, without passwords."""
    store, reason = f"the event store at {target.address}", _reason(error)
    if target.embedded:
        sentence = f"{store} can't be opened ({error_name(error)})"
    elif _code(error) in _LOGIN_ERRORS:
        sentence = f"{store} refused the user or password of MILLIMETRIC_STORE"
    elif isinstance(reason, http.SSLError):
        sentence = f"{store} can't be reached by TLS: check clickhouses:// and the certificate"
    elif _code(error) is not None:
        sentence = f"{store} refused the connection ({error_name(error)})"
    elif isinstance(reason, _UNREACHABLE):
        why = getattr(reason.__cause__, "strerror", None) or "it did not answer in time"
        sentence = (
            f"{store} can't be reached ({why}). Check that it runs, and --store / MILLIMETRIC_STORE"
        )
    else:
        sentence = f"{store} does not answer as a ClickHouse server does"
    return StoreUnavailable(sentence, retry_after_s=RETRY_AFTER_S)


def is_cancelled(error: Exception) -> bool:
    """Return whether the statement was stopped because no caller waits for it."""
    return _code(error) == _QUERY_WAS_CANCELLED


def is_too_large(error: Exception, *, is_alone: bool) -> bool:
    """Return whether the statement alone needs more time or memory than it may use.

    ``is_alone``: no other statement that runs beside it takes much memory.
    """
    # Of other limits of memory, other statements are part of the cause.
    uses_memory = is_alone or "Query memory limit" in str(error) or "(for query)" in str(error)
    return _code(error) == _TIMEOUT_EXCEEDED or (_code(error) == _MEMORY_LIMIT and uses_memory)


def describe(error: Exception) -> str:
    """Return the error's name for a log, and its cause and the data part if the text names them."""
    number = error.errno if isinstance(error, OSError) else None
    if found := _ERRNO.search(str(error)):
        number = int(found[1])
    cause = f": {os.strerror(number)}" if number else ""
    part = find_part(error)
    return f"{error_name(error)}{cause}" + (f", data part {part}" if part else "")


def find_part(error: Exception) -> str | None:
    """Return the name of the data part that the engine could not read, if the text has one."""
    if _code(error) in _LIMITS:  # it names the part that was being read
        return None
    found = _PART.search(str(error))
    return found[1] if found else None


def error_name(error: Exception) -> str:
    """Return ClickHouse's name of the error, else its code, else the exception's type."""
    code = _code(error)
    unnamed = type(error).__name__ if code is None else f"code {code}"
    return str(getattr(error, "name", None) or unnamed)


def _code(error: Exception) -> int | None:
    return error.code if isinstance(error, Error) else None


def _reason(error: Exception) -> BaseException | None:
    cause = error.__cause__
    return cause.reason if isinstance(cause, http.MaxRetryError) else cause
