"""Fixtures for the skills: their documents and shell blocks, a running API, and shells.

Modules named ``test_*`` need only Python. Modules named ``live_*`` run the script and the shell
blocks with real shells, curl and jq against a running API; ``scripts/test-skills`` runs them.
Modules named ``clients_*`` need the validators and clients that ``scripts/validate-skills``
installs.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
import pytest
import yaml

from millimetric_mcp.api.control import datadir, open_control
from millimetric_mcp.contract.keys import KeyEnv, KeyKind
from millimetric_mcp.settings import ControlSettings

ROOT = Path(__file__).parents[2]
MM = ROOT / "skills" / "millimetric-track" / "scripts" / "mm"
SKILLS = ("millimetric-track", "millimetric-query", "millimetric-mcp-setup")
SHELLS = {
    "bash": ("bash",),
    "zsh": ("zsh", "-f"),
    "dash": ("dash",),
    "busybox": ("busybox", "sh"),
}
"""``busybox`` also stands for a system without GNU tools: the script gets busybox's tools."""

NOT_OF_BUSYBOX = {"curl", "jq", "split"}  # Debian's busybox was built without split
TOOLS = ("curl", "jq", "sed", "grep", "split", "mktemp", "rm", "sleep", "cat", "wc", "env")
START_TIMEOUT_S = 60
RUN_TIMEOUT_S = 60

_NUMBERS = count()
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
_TITLE = re.compile(r"^#+ (?P<heading>.+)$|^\*\*(?P<strong>[^*]+)\*\*", re.M)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Block:
    """A fenced block, named by its file and the heading or bold words before it."""

    file: str
    title: str
    language: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.file}: {self.title}"


@dataclass(frozen=True)
class Document:
    """A Markdown file of a skill."""

    path: Path
    name: str

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def links(self) -> list[str]:
        return _LINK.findall(self.text)

    @property
    def blocks(self) -> list[Block]:
        return [
            Block(self.name, self._title_before(found.start()), found[1], found[2])
            for found in _FENCE.finditer(self.text)
        ]

    def table(self, first: str) -> list[dict[str, str]]:
        """Return the rows of every table whose first column is named ``first``, in their order."""
        lines = iter(self.text.splitlines())
        rows, heads = [], None
        for line in lines:
            if line.startswith(f"| {first} |"):
                heads = _cells(line)
                next(lines)
            elif heads and line.startswith("|"):
                rows.append(dict(zip(heads, _cells(line), strict=True)))
            else:
                heads = None
        assert rows, f"{self.name} has no table of {first}"
        return rows

    def _title_before(self, position: int) -> str:
        fenced = [(found.start(), found.end()) for found in _FENCE.finditer(self.text)]
        titles = [
            (found["heading"] or found["strong"]).rstrip(":")
            for found in _TITLE.finditer(self.text, 0, position)
            if not any(start < found.start() < end for start, end in fenced)
        ]
        return titles[-1]


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]]


@dataclass(frozen=True)
class Skill:
    """A skill's folder."""

    name: str
    path: Path

    @property
    def documents(self) -> list[Document]:
        return [
            Document(path, f"{self.name.removeprefix('millimetric-')}/{path.stem}")
            for path in sorted(self.path.rglob("*.md"))
        ]

    @property
    def main(self) -> Document:
        return self.document("SKILL")

    @property
    def front_matter(self) -> str:
        return self.main.text.split("---\n")[1]

    @property
    def properties(self) -> dict[str, object]:
        return yaml.safe_load(self.front_matter)

    @property
    def openclaw(self) -> dict[str, object]:
        return self.properties["metadata"]["openclaw"]

    def document(self, stem: str) -> Document:
        (found,) = [document for document in self.documents if document.path.stem == stem]
        return found


ALL_SKILLS = {name: Skill(name, ROOT / "skills" / name) for name in SKILLS}
ALL_BLOCKS = [
    block
    for skill in ALL_SKILLS.values()
    for document in skill.documents
    for block in document.blocks
]


GUIDES = [
    Document(path, path.stem)
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = metafunc.fixturenames
    if "skill" in names:
        metafunc.parametrize("skill", ALL_SKILLS.values(), ids=ALL_SKILLS)
    if "document" in names:
        documents = [each for skill in ALL_SKILLS.values() for each in skill.documents]
        metafunc.parametrize("document", documents, ids=[each.name for each in documents])
    if "page" in names:
        pages = [*GUIDES, *(each for skill in ALL_SKILLS.values() for each in skill.documents)]
        metafunc.parametrize("page", pages, ids=[each.name for each in pages])
    if "json_block" in names:
        found = [block for block in ALL_BLOCKS if block.language == "json"]
        metafunc.parametrize("json_block", found, ids=[block.id for block in found])
    if "shell" in names:
        metafunc.parametrize("shell", SHELLS)


@pytest.fixture
def track() -> Skill:
    return ALL_SKILLS["millimetric-track"]


@pytest.fixture
def query() -> Skill:
    return ALL_SKILLS["millimetric-query"]


@pytest.fixture
def setup() -> Skill:
    return ALL_SKILLS["millimetric-mcp-setup"]


@pytest.fixture
def guide() -> Document:
    """docs/skills.md."""
    (found,) = [each for each in GUIDES if each.name == "skills"]
    return found


@pytest.fixture(scope="session")
def sh_blocks() -> Mapping[str, Block]:
    """Every shell block by its id."""
    found = [block for block in ALL_BLOCKS if block.language == "sh"]
    assert len({block.id for block in found}) == len(found), "two shell blocks of one name"
    return {block.id: block for block in found}


# --- A running API ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Project:
    """A project for one test, with the variables that the recipes read."""

    url: str
    keys: Mapping[str, str] = field(repr=False)

    @property
    def environ(self) -> dict[str, str]:
        return {
            "MILLIMETRIC_HOST": self.url,
            "MILLIMETRIC_MCP_URL": f"{self.url}/mcp",
            "MILLIMETRIC_KEY": self.keys["sk"],
            "MILLIMETRIC_RK": self.keys["rk"],
        }

    def send(self, events: Sequence[Mapping[str, object]], **headers: str) -> None:
        bearer = {"Authorization": f"Bearer {self.keys['sk']}"}
        answer = httpx.post(
            f"{self.url}/v1/batch", json={"events": events}, headers=bearer | headers, timeout=30
        )
        assert answer.status_code == 202, answer.text

    def rows(self, **params: object) -> list[dict[str, object]]:
        """Raw events, newest first."""
        window = {"from": "1970-01-02T00:00:00Z", "to": "2100-01-01T00:00:00Z", "limit": 1000}
        bearer = {"Authorization": f"Bearer {self.keys['rk']}"}
        answer = httpx.get(
            f"{self.url}/v1/query", params=window | params, headers=bearer, timeout=30
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["rows"]

    def count(self) -> int:
        window = {"from": "1970-01-02T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
        bearer = {"Authorization": f"Bearer {self.keys['rk']}"}
        answer = httpx.get(f"{self.url}/v1/stats", params=window, headers=bearer, timeout=30)
        return sum(row["value"] for row in answer.json()["rows"])


@dataclass(frozen=True)
class LiveApi:
    """A ``millimetric-mcp api`` child."""

    url: str
    data_dir: Path

    def new_project(self, name: str) -> Project:
        keys = {kind: self.create_key(kind, project=name) for kind in ("sk", "rk")}
        return Project(self.url, keys)

    def create_key(self, kind: str, *, project: str, origins: Sequence[str] = ()) -> str:
        settings = ControlSettings(data_dir=self.data_dir)
        data_dir = datadir.prepare_data_dir(settings)
        pepper = datadir.resolve_secrets(settings, data_dir).pepper
        with closing(
            open_control(datadir.control_dsn(settings, data_dir), pepper=pepper)
        ) as control:
            made = control.create_key(
                kind=KeyKind(kind), env=KeyEnv.LIVE, project=project, origins=origins
            )
        return made.key.reveal()


@contextmanager
def _run_api(directory: Path, *options: str) -> Iterator[LiveApi]:
    log, data_dir = directory / "api.log", directory / "data"
    command = [sys.executable, "-m", "millimetric_mcp", "api", "--port", "0"]
    clean = {name: text for name, text in os.environ.items() if not name.startswith("MILLIMETRIC_")}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [
                *command,
                *("--data-dir", str(data_dir), "--keys-dir", str(directory / "keys")),
                *options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=clean,
        )
    try:
        yield LiveApi(_await_url(process, log), data_dir)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        assert process.poll() is None, log.read_text()
        announced = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        try:
            if announced and httpx.get(f"{announced[0]}/health", timeout=5).is_success:
                return announced[0]
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the API did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApi]:
    """An API with its default limits. It trusts the X-Forwarded-For header of the tests."""
    with _run_api(tmp_path_factory.mktemp("api"), "--trusted-proxy", "127.0.0.1/32") as running:
        yield running


@pytest.fixture(scope="module")
def narrow_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApi]:
    """An API that allows one request in two seconds."""
    limits = "track=0.5:1,batch=0.5:1"
    directory = tmp_path_factory.mktemp("narrow-api")
    with _run_api(directory, "--rate-limits", limits) as running:
        yield running


@pytest.fixture
def project(api: LiveApi, request: pytest.FixtureRequest) -> Project:
    """A new project."""
    name = re.sub(r"\W+", "-", request.node.name)[:48]
    return api.new_project(f"{name}-{next(_NUMBERS)}")


@pytest.fixture
def wait_until() -> Callable[..., None]:
    def wait(holds: Callable[[], bool], *, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline_s, "it did not happen in time"
            time.sleep(0.2)

    return wait


# --- Shells -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """How a script ended: its output, and the command line of every program it started."""

    code: int
    stdout: str
    stderr: str
    commands: Sequence[Sequence[str]]

    @property
    def json(self) -> object:
        assert self.code == 0, self.stderr
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[object]:
        """Return each line of the output, read as JSON."""
        assert self.code == 0, self.stderr
        return [json.loads(line) for line in self.stdout.splitlines()]

    def calls_of(self, tool: str) -> list[Sequence[str]]:
        return [command[1:] for command in self.commands if command[0] == tool]


RunScript = Callable[..., Run]


@pytest.fixture
def run_script(tmp_path: Path) -> RunScript:
    """Return a function that runs a script in a shell, with only the tools it may need.

    The directory it runs in has the skills' ``scripts/mm``, which the same shell runs. Each
    tool, and ``mm``, is a wrapper that writes down its command line, as other users of the
    machine could read it. There is no ``date``, unless ``date`` is the path of one.
    ``clients`` are further programs that the script may start. ``trace`` turns on the shell's
    trace (``set -x``) in the script and in ``mm``.
    """
    cwd, runs = tmp_path / "cwd", iter(range(1000))
    (cwd / "scripts").mkdir(parents=True)

    def run(
        text: str,
        *,
        shell: str,
        environ: Mapping[str, str],
        date: Path | None = None,
        clients: Sequence[str] = (),
        trace: bool = False,
    ) -> Run:
        place = tmp_path / f"run-{next(runs)}"
        programs = {tool: _find_tool(tool, busybox=shell == "busybox") for tool in TOOLS}
        programs |= {client: _find_tool(client) for client in clients}
        if date:
            programs["date"] = str(date)
        log = _wrap(programs, place / "bin", log=place / "commands")
        program, *options = SHELLS[shell]
        command = [str(shutil.which(program)), *options, *(["-x"] if trace else [])]
        _wrap({"mm": shlex.join([*command, str(MM)])}, cwd / "scripts", log=log)
        script = place / "script"
        script.write_text(text, encoding="utf-8")
        ended = subprocess.run(
            [*command, str(script)],
            cwd=cwd,
            env={"PATH": str(place / "bin"), "HOME": str(cwd), "LC_ALL": "C.UTF-8", **environ},
            capture_output=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
            start_new_session=True,  # a signal to its process group ends nothing of ours
        )
        noted = sorted(log.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        commands = [path.read_text(encoding="utf-8").split("\0")[:-1] for path in noted]
        return Run(ended.returncode, ended.stdout.decode(), ended.stderr.decode(), commands)

    run.cwd = cwd
    return run


def _wrap(programs: Mapping[str, str], bin_dir: Path, *, log: Path) -> Path:
    """Write a wrapper for each program; return the directory for their command lines."""
    log.mkdir(parents=True, exist_ok=True)
    bin_dir.mkdir(exist_ok=True)
    for name, program in programs.items():
        wrapper = bin_dir / name
        path = "" if name == "mm" else f"PATH={shlex.quote(os.environ['PATH'])} "
        wrapper.write_text(
            "#!/bin/sh\n"
            f"""printf '%s\\0' {name} "$@" > {shlex.quote(str(log))}/$$\n"""
            f"""{path}exec {program} "$@"\n"""
        )
        wrapper.chmod(0o755)
    return log


def _find_tool(tool: str, *, busybox: bool = False) -> str:
    if busybox and tool not in NOT_OF_BUSYBOX:
        return f"{shutil.which('busybox')} {tool}"
    found = shutil.which(tool)
    assert found, f"{tool} is missing; scripts/test-skills installs what is needed"
    return shlex.quote(found)
