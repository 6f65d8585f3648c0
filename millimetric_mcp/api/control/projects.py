"""Projects: their names, settings and removal.

A project's test data is stored as a separate project, whose name ends in `TEST_SUFFIX`. Every
method here means both.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from millimetric_mcp.api.control.engine import Database
from millimetric_mcp.api.control.schema import (
    TEST_SUFFIX,
    deletions,
    imports,
    is_active,
    keys,
    new_project_id,
    projects,
)
from millimetric_mcp.contract.attribution import FbclidMeaning
from millimetric_mcp.contract.keys import KeyKind

_SETTINGS = ("retention_days", "fbclid", "timezone")


@dataclass(frozen=True, slots=True)
class Project:
    """A project and its settings; None stands for the API's own setting.

    ``keys`` counts the active ones, and ``origins`` are those of the active browser keys.
    ``last_used_on`` is the UTC day of the last request with one of the keys, None if there was
    none.
    """

    name: str
    created_at: datetime
    retention_days: int | None
    fbclid: FbclidMeaning | None
    timezone: str | None
    origins: tuple[str, ...]
    keys: int
    last_used_on: datetime | None


class Projects:
    """The projects of a deployment. Every method raises StoreUnavailable if the database fails."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def list_all(self) -> tuple[Project, ...]:
        """Return every project, by name."""
        now = self._clock()
        query = (
            select(
                projects.c.name,
                projects.c.created_at,
                projects.c.retention_days,
                projects.c.fbclid,
                projects.c.timezone,
                func.count(keys.c.prefix).filter(is_active(now)).label("keys"),
                func.max(keys.c.last_used_on).label("last_used_on"),
            )
            .outerjoin(keys)
            .group_by(projects.c.id)
            .order_by(projects.c.name)
        )
        browser_keys = (
            select(projects.c.name, keys.c.origins)
            .join(keys)
            .where(keys.c.kind == KeyKind.PK, is_active(now))
        )
        origins: dict[str, set[str]] = {}
        with self._database.reading() as connection:
            for name, of_key in connection.execute(browser_keys):
                origins.setdefault(name, set()).update(of_key)
            rows = [
                Project(origins=tuple(origins.get(row["name"], ())), **row)
                for row in connection.execute(query).mappings()
            ]
        return _merge_test_data(rows)

    def find(self, name: str) -> Project | None:
        """Return the project of that name."""
        return next((one for one in self.list_all() if one.name == name), None)

    def find_ids(self, name: str) -> tuple[int, ...]:
        """Return the ids under which a project's events are stored; none if it is unknown."""
        query = select(projects.c.id).where(projects.c.name.in_(_names(name)))
        with self._database.reading() as connection:
            return tuple(connection.scalars(query))

    def find_similar(self, name: str, *, besides: str | None = None) -> str | None:
        """Return an existing name that differs in case or by one letter; None if ``name`` exists.

        Two neighbouring letters that changed places count as one letter. ``besides`` is a name
        that does not count, of a project that is renamed.
        """
        names = [one.name for one in self.list_all()]
        if name in names:
            return None
        return next((one for one in names if one != besides and is_similar(one, name)), None)

    def create(self, name: str) -> bool:
        """Create a project; return False if there is one of that name."""
        with self._database.writing(exclusive=True) as connection:
            names = _names(name)
            if connection.execute(select(projects.c.id).where(projects.c.name.in_(names))).first():
                return False
            find_or_create_project(connection, name, now=self._clock())
        return True

    def rename(self, name: str, new_name: str) -> bool:
        """Rename a project; return False if ``new_name`` is taken or ``name`` unknown."""
        with self._database.writing(exclusive=True) as connection:
            taken = select(projects.c.id).where(projects.c.name.in_(_names(new_name)))
            if connection.execute(taken).first():
                return False
            renamed = [
                connection.execute(
                    update(projects).where(projects.c.name == old).values(name=new)
                ).rowcount
                for old, new in zip(_names(name), _names(new_name), strict=True)
            ]
        return any(renamed)

    def change(
        self,
        name: str,
        *,
        origins: Collection[str] = (),
        **settings: Any,  # noqa: ANN401 - columns of the table
    ) -> bool:
        """Set ``retention_days``, ``fbclid`` or ``timezone``; None means the API's own setting.

        ``origins``, in the form of `normalise_origin`, replace those of the project's active
        browser keys. If it has no such key, nothing is changed, and the result is False.
        """
        with self._database.writing() as connection:
            if origins and not _set_origins(connection, name, origins, now=self._clock()):
                return False
            if settings:
                project = projects.c.name.in_(_names(name))
                connection.execute(update(projects).where(project).values(settings))
        return True

    def revoke_keys(self, project_ids: Collection[int]) -> None:
        """Revoke every key of these projects."""
        with self._database.writing() as connection:
            connection.execute(
                update(keys)
                .where(keys.c.project_id.in_(project_ids), keys.c.revoked_at.is_(None))
                .values(revoked_at=self._clock())
            )

    def remove(self, project_ids: Collection[int]) -> tuple[str, ...]:
        """Remove projects with their keys, deletions and imports; return the prefixes of the keys.

        No byte of them stays in the files of SQLite. PostgreSQL reuses the space by itself.
        """
        with self._database.writing(exclusive=True) as connection:
            found = select(keys.c.prefix).where(keys.c.project_id.in_(project_ids))
            prefixes = tuple(connection.scalars(found))
            for table in (keys, deletions, imports):
                connection.execute(delete(table).where(table.c.project_id.in_(project_ids)))
            connection.execute(delete(projects).where(projects.c.id.in_(project_ids)))
        self._database.clear_journal()
        return prefixes


def find_or_create_project(connection: Connection, name: str, *, now: datetime) -> int:
    """Return the id of a stored project; a new one of test data gets the live one's settings."""
    found: int | None = connection.scalar(select(projects.c.id).where(projects.c.name == name))
    if found is not None:
        return found
    live = select(projects).where(projects.c.name == name.removesuffix(TEST_SUFFIX))
    row = connection.execute(live).mappings().first()
    values = {column: row[column] for column in _SETTINGS} if row else {}
    project_id = new_project_id()
    connection.execute(insert(projects).values(id=project_id, name=name, created_at=now, **values))
    return project_id


def _set_origins(
    connection: Connection, name: str, origins: Collection[str], *, now: datetime
) -> int:
    """Set the origins of a project's active browser keys; return how many keys it has."""
    ids = select(projects.c.id).where(projects.c.name.in_(_names(name)))
    changed = connection.execute(
        update(keys)
        .where(
            keys.c.project_id.in_(ids.scalar_subquery()),
            keys.c.kind == KeyKind.PK,
            is_active(now),
        )
        .values(origins=sorted(origins))
    )
    return changed.rowcount


def _names(name: str) -> tuple[str, str]:
    return name, name + TEST_SUFFIX


def _merge_test_data(rows: Sequence[Project]) -> tuple[Project, ...]:
    """Return one project for the rows of live and test data."""
    merged: dict[str, Project] = {}
    for row in rows:
        name = row.name.removesuffix(TEST_SUFFIX)
        other = merged.get(name, row)
        days = [one.last_used_on for one in (row, other) if one.last_used_on]
        merged[name] = Project(
            name=name,
            created_at=min(row.created_at, other.created_at),
            retention_days=other.retention_days,
            fbclid=other.fbclid,
            timezone=other.timezone,
            origins=tuple(sorted({*row.origins, *other.origins})),
            keys=row.keys + (other.keys if other is not row else 0),
            last_used_on=max(days, default=None),
        )
    return tuple(merged.values())


def is_similar(one: str, other: str) -> bool:
    """Return whether two names differ in case, or by one letter, or by two that changed places."""
    one, other = one.casefold(), other.casefold()
    if len(one) > len(other):
        one, other = other, one
    same = next((at for at, char in enumerate(one) if char != other[at]), len(one))
    left, right = one[same:], other[same:]
    return (
        left == right
        or left[1:] == right[1:]
        or left == right[1:]
        or (left[2:] == right[2:] and left[:2] == right[1::-1])
    )
