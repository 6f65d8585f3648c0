"""``millimetric-mcp projects``: list, create, rename, set and delete projects."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from millimetric_mcp.api.administration import COUNT_PROJECT, DELETE_PROJECT
from millimetric_mcp.api.control import Control, Project, datadir
from millimetric_mcp.cli.administer import Deployment, find_deployment
from millimetric_mcp.cli.confirmation import confirm, confirm_name
from millimetric_mcp.cli.key_files import find_files, keys_dir_of
from millimetric_mcp.cli.names import check_name, check_origins, confirm_new_name, read_origins
from millimetric_mcp.cli.output import print_json
from millimetric_mcp.contract.attribution import FbclidMeaning
from millimetric_mcp.contract.validation import find_zone, format_timestamp
from millimetric_mcp.errors import SettingsError
from millimetric_mcp.settings import (
    MAX_RETENTION_DAYS,
    ControlSettings,
    DeploymentSettings,
    read_settings,
)

DEFAULT = "default"
"""What an option says for the API's own setting."""
DECLINED = "Nothing was changed.\n"


@dataclass(frozen=True, slots=True)
class _ProjectsContext:
    """A ``projects`` command: its options, the environment and the control database."""

    options: Namespace
    environ: Mapping[str, str]
    control: Control


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    """Run the ``projects`` command; return 1 if a name is unknown or taken, or if declined.

    Raises:
        SettingsError: options or settings are wrong, or no person can be asked.
        StoreError: the store or the control database failed.
    """
    _check_options(options)
    settings = read_settings(ControlSettings, environ=environ, options=vars(options))
    datadir.keep_private()
    data_dir = datadir.find_data_dir(settings)
    with closing(datadir.open_control_of(settings, data_dir)) as control:
        return _ACTIONS[options.projects_command](_ProjectsContext(options, environ, control))


def _list(context: _ProjectsContext) -> int:
    listed = context.control.projects.list_all()
    if context.options.json:
        print_json([_describe(project) for project in listed])
        return 0
    for project in listed:
        sys.stdout.write("".join(f"{line}\n" for line in _write_project(project)))
    return 0


def _create(context: _ProjectsContext) -> int:
    name = context.options.name
    if not confirm_new_name(context.control, name, yes=context.options.yes):
        return _decline()
    if not context.control.projects.create(name):
        return _fail(f"There is already a project {name}.")
    return _say(context, name, f"Created project {name}.")


def _rename(context: _ProjectsContext) -> int:
    name, new_name = context.options.name, context.options.new_name
    projects = context.control.projects
    if projects.find(name) is None:
        return _fail_unknown(context, name)
    if projects.find(new_name) is not None:
        return _fail(f"There is already a project {new_name}.")
    if not confirm_new_name(context.control, new_name, yes=context.options.yes, besides=name):
        return _decline()
    projects.rename(name, new_name)
    return _say(
        context, new_name, f"Renamed project {name} to {new_name}. Its keys work as before."
    )


def _set(context: _ProjectsContext) -> int:
    options, projects = context.options, context.control.projects
    project = projects.find(options.name)
    if project is None:
        return _fail_unknown(context, options.name)
    origins, days = read_origins(options.origin or ()), options.retention_days
    if origins and not project.origins:
        return _fail_without_browser_key(options.name)
    if days is not None and not _confirm_retention(project, days, yes=options.yes):
        return _decline()
    if not projects.change(options.name, origins=origins, **_read_settings(options)):
        return _fail_without_browser_key(options.name)
    return _say(context, options.name, "Saved. A running API uses it within 5 seconds.")


def _read_settings(options: Namespace) -> dict[str, object]:
    """Return the values of the options that were given, by column of the project."""
    settings: dict[str, object] = {}
    if options.retention_days is not None:
        settings["retention_days"] = options.retention_days or None
    if options.fbclid is not None:
        own = _unless_default(options.fbclid)
        settings["fbclid"] = FbclidMeaning(own) if own else None
    if options.timezone is not None:
        settings["timezone"] = _unless_default(options.timezone)
    return settings


def _unless_default(text: str) -> str | None:
    return None if text == DEFAULT else text


def _confirm_retention(project: Project, days: int, *, yes: bool) -> bool:
    if days == 0 or (project.retention_days is not None and days >= project.retention_days):
        return True
    question = (
        f"A running API deletes every event of project {project.name} that is older than {days} "
        "days, within an hour and for good. Go on?"
    )
    return confirm(question, yes=yes)


def _delete(context: _ProjectsContext) -> int:
    options, name = context.options, context.options.name
    project = context.control.projects.find(name)
    if project is None:
        return _fail_unknown(context, name)
    deployment = _find_store(context)
    events = deployment.administer({"do": COUNT_PROJECT, "name": name})["events"]
    question = (
        f"Delete project {name} with {events:,} events and {project.keys} active keys for good?"
    )
    if not confirm_name(question, name, yes=options.yes):
        return _decline()
    if not options.json:
        sys.stderr.write("Deleting. This takes about 10 seconds.\n")
    deleted = deployment.administer({"do": DELETE_PROJECT, "name": name})
    keys_dir = keys_dir_of(deployment.settings)
    for path in find_files(deleted["prefixes"], keys_dir).values():
        path.unlink()
    if options.json:
        print_json({"project": name, "events": deleted["events"], "deleted": True})
    else:
        count = len(deleted["prefixes"])
        sys.stdout.write(f"Deleted project {name}: {deleted['events']:,} events, {count} keys.\n")
    return 0


def _find_store(context: _ProjectsContext) -> Deployment:
    """Return the deployment with its event store.

    Raises:
        SettingsError: there is no store where the settings say.
    """
    settings = read_settings(
        DeploymentSettings, environ=context.environ, options=vars(context.options)
    )
    deployment = find_deployment(settings)
    target = deployment.target
    if target.embedded and not Path(target.address).exists():
        sentence = (
            f"There is no event store in {target.address}. Name the one that the API uses with "
            "--store."
        )
        raise SettingsError([sentence])
    return deployment


_ACTIONS: dict[str, Callable[[_ProjectsContext], int]] = {
    "list": _list,
    "create": _create,
    "rename": _rename,
    "set": _set,
    "delete": _delete,
}


def _write_project(project: Project) -> Iterator[str]:
    keys = f"{project.keys} active key" + ("" if project.keys == 1 else "s")
    used = f"last used {project.last_used_on:%Y-%m-%d}" if project.last_used_on else "never used"
    days = project.retention_days
    yield f"Project {project.name}"
    yield f"  created {project.created_at:%Y-%m-%d}, {used}, {keys}"
    if days:
        yield f"  events are kept {days} days"
    if project.fbclid:
        yield f"  an fbclid counts as {project.fbclid}"
    if project.timezone:
        yield f"  days begin in {project.timezone}"
    if project.origins:
        yield "  browser keys work on"
    yield from (f"    {origin}" for origin in project.origins)


def _describe(project: Project) -> dict[str, object]:
    return {
        "project": project.name,
        "created_at": format_timestamp(project.created_at),
        "retention_days": project.retention_days,
        "fbclid": project.fbclid,
        "timezone": project.timezone,
        "origins": list(project.origins),
        "keys": project.keys,
        "last_used_on": f"{project.last_used_on:%Y-%m-%d}" if project.last_used_on else None,
    }


def _say(context: _ProjectsContext, name: str, sentence: str) -> int:
    if context.options.json:
        project = context.control.projects.find(name)
        print_json(_describe(project) if project else None)
    else:
        sys.stdout.write(f"{sentence}\n")
    return 0


def _decline() -> int:
    sys.stderr.write(DECLINED)
    return 1


def _fail_unknown(context: _ProjectsContext, name: str) -> int:
    names = [project.name for project in context.control.projects.list_all()]
    similar = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {similar[0]}?" if similar else "To see all: millimetric-mcp projects list"
    return _fail(f"There is no project {name}. {hint}")


def _fail(sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return 1


def _fail_without_browser_key(name: str) -> int:
    return _fail(
        f"Project {name} has no active browser key. Create one: millimetric-mcp keys "
        "create --kind pk --origin …"
    )


def _check_options(options: Namespace) -> None:
    wrong: list[str] = []
    if options.projects_command == "create":
        wrong += check_name("NAME", options.name)
    if options.projects_command == "rename":
        wrong += check_name("NEW_NAME", options.new_name)
    if options.projects_command == "set":
        days = options.retention_days
        wrong += check_origins(options.origin or ())
        if days is not None and not 0 <= days <= MAX_RETENTION_DAYS:
            wrong.append(
                f"--retention-days: use 1 to {MAX_RETENTION_DAYS}, or 0 for the API's default."
            )
        if options.timezone not in {None, DEFAULT} and find_zone(options.timezone) is None:
            wrong.append("--timezone: use an IANA name such as Europe/Berlin, or default for UTC.")
        if {days, options.fbclid, options.timezone} == {None} and not options.origin:
            wrong.append("Say what to set: --retention-days, --fbclid, --timezone or --origin.")
    if wrong:
        raise SettingsError(wrong)
