"""What ClickHouse's errors mean for a write: not done, refused, or nobody knows.

An error that is in neither table below leaves a server's write in doubt: to say "certainly
not stored" of a stored event would double it, since its sender sends it again.
"""

from clickhouse_connect.driver.exceptions import Error, ProgrammingError
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    SSLError,
)

from millimetric_mcp.api.store.dsn import StoreTarget
from millimetric_mcp.errors import StoreError, StoreRefused, StoreUnavailable, StoreUncertain

RETRY_AFTER_S = 5

_BAD_ROWS = frozenset(
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
"""The statement's own fault, found before anything is written: a neighbour's may succeed."""

_NOT_NOW = frozenset(
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
"""Nothing written by anybody's statement until the server, or its operator, has moved on."""

_WHO = frozenset({192, 193, 194, 195, 516})
_UNREACHABLE = (NewConnectionError, ConnectTimeoutError)


def translate(error: Exception, *, embedded: bool) -> StoreError:
    """The error of ours that an error of the client is; its text never quotes the client's."""
    if embedded:
        return _translate_embedded(error)
    code = _code(error)
    if code in _BAD_ROWS:
        return StoreRefused(f"the event store refused the statement ({name_of(error)})")
    if code in _NOT_NOW:
        return StoreUnavailable(
            f"the event store can't do it now ({name_of(error)})", retry_after_s=RETRY_AFTER_S
        )
    if isinstance(_reason(error), _UNREACHABLE):
        return StoreUnavailable("the event store can't be reached", retry_after_s=RETRY_AFTER_S)
    if code is not None:
        return StoreUncertain(f"the event store failed ({name_of(error)})")
    return StoreUncertain("the event store did not answer")


def explain_connection(error: Exception, target: StoreTarget) -> StoreUnavailable:
    """Why no conversation began, in a sentence for the operator, without the password."""
    store, reason = f"the event store at {target.address}", _reason(error)
    if target.embedded:
        sentence = f"{store} can't be opened ({name_of(error)})"
    elif _code(error) in _WHO:
        sentence = f"{store} refused the user or password of MILLIMETRIC_STORE"
    elif isinstance(reason, SSLError):
        sentence = f"{store} can't be reached by TLS: check clickhouses:// and the certificate"
    elif _code(error) is not None:
        sentence = f"{store} refused the connection ({name_of(error)})"
    elif isinstance(reason, _UNREACHABLE):
        sentence = f"{store} can't be reached"
    else:
        sentence = f"{store} does not answer as a ClickHouse server does"
    return StoreUnavailable(sentence, retry_after_s=RETRY_AFTER_S)


def name_of(error: Exception) -> str:
    """ClickHouse's name of the error, else its code, else the exception's type."""
    name = getattr(error, "name", None)
    code = _code(error)
    return str(name or (f"code {code}" if code is not None else type(error).__name__))


def _translate_embedded(error: Exception) -> StoreError:
    if isinstance(error, ProgrammingError) and error.code is None:
        return StoreUnavailable("the event store is closed")
    return StoreRefused(f"the event store refused the statement ({name_of(error)})")


def _code(error: Exception) -> int | None:
    return error.code if isinstance(error, Error) else None


def _reason(error: Exception) -> BaseException | None:
    cause = error.__cause__
    return cause.reason if isinstance(cause, MaxRetryError) else cause
