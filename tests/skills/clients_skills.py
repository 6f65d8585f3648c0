"""The skills in the validators and in openclaw; the set-up skill's commands in their clients."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

CACHE = Path(os.environ["MILLIMETRIC_INTEROP_CACHE"])
TIMEOUT_S = 120
READ_TOOLS = 6
"""Without a server key there are no others."""
SETUP = "mcp-setup/SKILL"
INSPECTORS = {
    "local": "mcp-setup/clients: The Inspector",
    "hosted": "mcp-setup/clients: The Inspector, hosted",
}
CLIENTS = {
    f"{SETUP}: Claude Code, local": "claude",
    f"{SETUP}: openclaw, local": "openclaw",
    f"{SETUP}: Claude Code, hosted": "claude",
    f"{SETUP}: openclaw, hosted": "openclaw",
    **dict.fromkeys(INSPECTORS.values(), "npx"),
}


def run(*command, cwd=None, **environ):
    """Run a command and return what it prints; fail with its output."""
    ended = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


# --- Validators ---------------------------------------------------------------------------------


def test_agentskills_accepts_a_skill(skill):
    run("agentskills", "validate", str(skill.path))


def test_skills_ref_accepts_a_skill(skill):
    run("skills-ref", "validate", str(skill.path))


def test_skillsaw_finds_nothing(skill):
    assert "INFO" not in run("skillsaw", "lint", "--strict", "--verbose", str(skill.path))


# --- openclaw -----------------------------------------------------------------------------------


@pytest.fixture
def openclaw(tmp_path):
    """Run openclaw with a new state and only these programs."""
    bin_dir, home = tmp_path / "bin", tmp_path / "home"
    bin_dir.mkdir()
    home.mkdir()

    def call(*arguments, programs=("curl", "jq"), **environ):
        for link in bin_dir.iterdir():
            link.unlink()
        for program in ("node", "env", "openclaw", *programs):
            (bin_dir / program).symlink_to(shutil.which(program))
        state = {
            "HOME": str(home),
            "OPENCLAW_STATE_DIR": str(tmp_path / "state"),
            "OPENCLAW_PATH_BOOTSTRAPPED": "1",  # else it looks beyond PATH
        }
        ended = subprocess.run(
            [str(bin_dir / "openclaw"), *arguments],
            env={"PATH": str(bin_dir)} | state | environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return call


def nothing_missing(**missing):
    return {"bins": [], "anyBins": [], "env": [], "config": [], "os": []} | missing


def test_openclaw_installs_a_skill_and_lists_what_is_missing(skill, openclaw):
    openclaw("skills", "install", str(skill.path))
    env = skill.openclaw["requires"].get("env", [])

    def inform(**options):
        return json.loads(openclaw("skills", "info", skill.name, "--json", **options))

    ready = inform(**dict.fromkeys(env, "a key"))
    assert ready["eligible"]
    assert ready["missing"] == nothing_missing()
    assert ready["primaryEnv"] == skill.openclaw["primaryEnv"]
    assert (ready["emoji"], ready["homepage"]) == (
        skill.openclaw["emoji"],
        skill.openclaw["homepage"],
    )
    assert [each["kind"] for each in ready["install"]] == ["brew"]

    without_keys = inform()
    assert without_keys["eligible"] == (not env)
    assert without_keys["missing"] == nothing_missing(env=env)

    without_jq = inform(programs=["curl"], **dict.fromkeys(env, "a key"))
    assert not without_jq["eligible"]
    assert without_jq["missing"] == nothing_missing(bins=["jq"])


def test_openclaw_installs_the_references_and_the_script(skill, openclaw, tmp_path):
    openclaw("skills", "install", str(skill.path))
    (installed,) = (tmp_path / "state").rglob(f"{skill.name}/SKILL.md")
    script = installed.parent / "scripts" / "mm"
    assert script.read_text() == (skill.path / "scripts" / "mm").read_text()
    assert os.access(script, os.X_OK)
    assert {path.name for path in installed.parent.rglob("*.md")} == {
        document.path.name for document in skill.documents
    }


# --- The commands of the set-up skill -----------------------------------------------------------


def test_every_command_of_the_set_up_skill_is_run(sh_blocks):
    others = {f"{SETUP}: A hosted server, without a client"}
    assert {name for name in sh_blocks if name.startswith("mcp-setup/")} == others | CLIENTS.keys()


@pytest.fixture
def run_client(project, sh_blocks, run_script):
    """Run a block in its client; no key gets into a command line, or into a file that stays."""

    def run_block(name):
        (run_script.cwd / "node_modules").symlink_to(CACHE / "node_modules")
        ran = run_script(
            sh_blocks[name].text,
            shell="bash",
            environ=project.environ,
            clients=(CLIENTS[name], "millimetric-mcp", "node"),
        )
        assert ran.code == 0, ran.stdout + ran.stderr
        assert ran.calls_of(CLIENTS[name])
        for key in project.keys.values():
            assert key not in str(ran.commands)
            assert key not in ran.stdout + ran.stderr
            assert [path for path in files_below(run_script.cwd) if key in read(path)] == []
        return ran.stdout

    return run_block


def files_below(directory):
    for path in directory.iterdir():
        if path.is_symlink():
            continue
        if path.is_dir():
            yield from files_below(path)
        else:
            yield path


def read(path):
    return path.read_text(errors="replace")


@pytest.mark.parametrize("way", ["local", "hosted"])
def test_claude_code_connects(way, run_client):
    assert "✔ Connected" in run_client(f"{SETUP}: Claude Code, {way}")


@pytest.mark.parametrize("way", ["local", "hosted"])
def test_openclaw_connects_with_the_tools_of_the_read_key(way, run_client):
    printed = run_client(f"{SETUP}: openclaw, {way}")
    probed = json.loads(printed[printed.index("{") :])
    assert probed["servers"]["millimetric"]["tools"] == READ_TOOLS
    assert probed["diagnostics"] == []


@pytest.mark.parametrize("way", INSPECTORS)
def test_the_inspector_gets_a_result(way, project, run_client):
    project.send([{"event": "signup", "url": "https://shop.example/?fbclid=x"}])
    result = json.loads(run_client(INSPECTORS[way]))
    (row,) = result["structuredContent"]["rows"]
    assert (row["source"], row["medium"], row["events"]) == ("facebook", "paid", 1)
