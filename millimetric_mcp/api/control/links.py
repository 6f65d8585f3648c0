"""One-time codes that hand a read key to the page.

The database has a code's hash, and the key as only the code can open it: who reads the
database, or a copy of it, learns no key.
"""

import secrets
from datetime import datetime, timedelta
from hashlib import sha256, shake_256

from sqlalchemy import delete, insert, select

from millimetric_mcp.api.control.engine import Database
from millimetric_mcp.api.control.schema import links
from millimetric_mcp.contract.links import LINK_LIFETIME_S

_CODE_BYTES = 32


class Links:
    """The codes of every process of a deployment. Methods raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, key: str, *, now: datetime) -> str:
        """Return a code for a key; it works once, within `LINK_LIFETIME_S`."""
        code = secrets.token_urlsafe(_CODE_BYTES)
        with self._database.writing() as connection:
            connection.execute(delete(links).where(links.c.expires_at <= now))
            connection.execute(
                insert(links).values(
                    code_hash=_hash(code),
                    sealed_key=_seal(key.encode(), code),
                    expires_at=now + timedelta(seconds=LINK_LIFETIME_S),
                )
            )
        return code

    def redeem(self, code: str, *, now: datetime) -> str | None:
        """Return the key of a code, once; None if the code is unknown, used or expired."""
        is_this = links.c.code_hash == _hash(code)
        with self._database.reading() as connection:  # a wrong code takes no write lock
            found = connection.execute(select(links).where(is_this)).first()
        if found is None:
            return None
        with self._database.writing() as connection:
            # Of several requests at once, one deletes the row.
            is_first = connection.execute(delete(links).where(is_this)).rowcount == 1
        is_valid = is_first and now < found.expires_at
        return _seal(found.sealed_key, code).decode() if is_valid else None


def _hash(code: str) -> bytes:
    return sha256(code.encode()).digest()


def _seal(text: bytes, code: str) -> bytes:
    """Encrypt or decrypt: each code is random and is used for one text only."""
    stream = shake_256(b"millimetric link " + code.encode()).digest(len(text))
    return bytes(one ^ other for one, other in zip(text, stream, strict=True))
