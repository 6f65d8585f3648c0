"""What is written by hand in the skills, compared with the contract and the settings.

``scripts/docs.py --check`` compares the tables between markers.
"""

import json
import keyword
import os
import re
from pathlib import Path

import pytest

from millimetric_mcp.api.ingest.classify import PAID_MEDIUMS
from millimetric_mcp.contract.codes import ErrorCode
from millimetric_mcp.contract.endpoints import ENDPOINTS, IDENTIFY
from millimetric_mcp.contract.events import MAX_BATCH_EVENTS, MAX_BODY_BYTES
from millimetric_mcp.contract.keys import MIN_SECRET_LENGTH, PREFIX_LENGTH, Scope, parse_api_key
from millimetric_mcp.contract.reads import (
    SourceRow,
)
from millimetric_mcp.mcp.access import READ_KEY_HEADER, AccessError
from millimetric_mcp.mcp.tools import TOOLS
from millimetric_mcp.settings import (
    DEFAULT_HOST,
    LOCAL_HOST,
    ApiSettings,
    RateLimits,
    ServeSettings,
)
from millimetric_mcp.settings import list_settings as list_settings_of

MAX_TOKENS = 1300
SHOWN_DESCRIPTION_CHARS = 160
PLAIN = Path(__file__).parent / "plain"
ENV = {
    "millimetric-track": ["MILLIMETRIC_KEY"],
    "millimetric-query": ["MILLIMETRIC_RK"],
    "millimetric-mcp-setup": [],
}
READS = [endpoint for endpoint in ENDPOINTS if endpoint.scope is Scope.READ]
WRITES = [endpoint for endpoint in ENDPOINTS if endpoint.scope is not Scope.READ]
READ_ONLY_CODES = {
    ErrorCode.INVALID_PARAMS,
    ErrorCode.INVALID_GROUP_BY,
    ErrorCode.QUERY_TOO_LARGE,
}
WRITE_ONLY_CODES = {
    ErrorCode.INVALID_PAYLOAD,
    ErrorCode.ORIGIN_NOT_ALLOWED,
    ErrorCode.FORGET_REQUIRES_SECRET_KEY,
    ErrorCode.IMPORT_BUSY,
    ErrorCode.PAYLOAD_TOO_LARGE,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.RATE_LIMITED,
    ErrorCode.TOO_MANY_NAMES,
    ErrorCode.DAILY_LIMIT_REACHED,
    ErrorCode.FORGET_FAILED,
}

SCHEMA_KEYWORDS = {"properties", "type", "items", "enum", "required", "description", "title"}

SECRET = "s" * MIN_SECRET_LENGTH

_CODE = re.compile(r"`([^`]+)`")


def codes_in(text):
    return _CODE.findall(text)


# --- Form ---------------------------------------------------------------------------------------


def test_a_skill_is_named_as_its_folder(skill):
    assert skill.properties["name"] == skill.path.name == skill.name


def test_front_matter_is_block_yaml(skill):
    assert not re.search(r":\s*[\[{]", skill.front_matter), "the strict validator refuses flow YAML"


def test_front_matter_holds_the_fields_of_the_specification_only(skill):
    assert set(skill.properties) == {"name", "description", "license", "compatibility", "metadata"}
    assert set(skill.properties["metadata"]) == {"openclaw"}


def test_a_description_says_when_to_use_the_skill_within_what_is_shown(skill):
    description = skill.properties["description"]
    assert description.startswith("Use to ")
    assert len(description) <= SHOWN_DESCRIPTION_CHARS


def test_front_matter_has_what_openclaw_needs(skill):
    metadata = skill.openclaw
    assert metadata["homepage"].startswith("https://")
    assert metadata["emoji"]
    assert metadata["primaryEnv"] in {"MILLIMETRIC_KEY", "MILLIMETRIC_RK"}
    assert metadata["requires"].get("env", []) == ENV[skill.name]
    assert metadata["requires"]["bins"] == ["curl", "jq"]
    (brew,) = metadata["install"]
    assert brew["kind"] == "brew"
    assert brew["formula"] == "jq"
    assert brew["bins"] == ["jq"]
    assert "`apt-get install jq`" in " ".join(skill.main.text.split())


@pytest.mark.filterwarnings("ignore:open_binary is deprecated")  # in the tokenizer
def test_a_skill_has_at_most_1300_tokens(skill):
    import bpe_openai  # noqa: PLC0415 - warns while it is imported

    encoding = bpe_openai.get_encoding("o200k_base")
    assert len(encoding.encode(skill.main.text)) <= MAX_TOKENS


def test_every_link_leads_to_a_file_of_the_skill(document):
    for link in document.links:
        assert (document.path.parent / link).resolve().is_file(), link


def test_every_reference_is_linked_from_the_skill(skill):
    linked = {(skill.path / link).resolve() for link in skill.main.links}
    references = {document.path.resolve() for document in skill.documents} - {
        skill.main.path.resolve()
    }
    assert references <= linked


def test_every_json_block_is_json(json_block):
    json.loads(json_block.text)


def test_every_skill_has_the_same_script(skill, track):
    script, same = skill.path / "scripts" / "mm", track.path / "scripts" / "mm"
    assert script.read_text() == same.read_text()
    assert os.access(script, os.X_OK)


def test_the_plain_calls_are_in_the_references(track, query):
    for skill in (track, query):
        shown = [block.text for block in skill.document("curl").blocks]
        prefix = skill.name.removeprefix("millimetric-")
        calls = [path.read_text() for path in sorted(PLAIN.glob(f"{prefix}-*.sh"))]
        assert sorted(shown) == sorted(re.sub(r"^# .*\n", "", call) for call in calls)
        assert {block.language for block in skill.document("curl").blocks} == {"bash"}
        (example,) = [block.text for block in skill.main.blocks if block.language == "bash"]
        assert example in shown


def test_only_the_plain_calls_run_curl(sh_blocks):
    for block in sh_blocks.values():
        assert "curl" not in block.text, block.id


def test_no_shell_block_expands_a_key_outside_quotes(sh_blocks):
    for block in sh_blocks.values():
        unquoted = re.sub(r"'[^']*'", "", block.text)
        assert not re.search(r"\$\{?MILLIMETRIC_(KEY|RK)", unquoted), block.id


def test_no_shell_block_calls_date(sh_blocks):
    """The ``date`` of GNU and of BSD take different options; the script uses jq."""
    for block in sh_blocks.values():
        assert not re.search(r"\bdate\b[ +]-?[ud+]", block.text), block.id


def test_no_shell_block_has_comments(page):
    """zsh, the default shell of macOS, reads the words of a comment as arguments."""
    for block in page.blocks:
        if block.language == "sh":
            unquoted = re.sub(r"'[^']*'", "", block.text)
            assert not re.search(r"(^|\s)#", unquoted), block.id


def test_every_variable_that_a_block_reads_is_explained(skill):
    explained = {codes_in(row["Variable"])[0] for row in skill.main.table("Variable")}
    read = {
        variable
        for document in skill.documents
        for block in document.blocks
        if block.language in {"sh", "bash"}
        for variable in re.findall(r"MILLIMETRIC_[A-Z_]+", block.text)
    }
    assert explained == read


def test_the_documents_say_that_every_variable_must_be_exported(track, query):
    """If the host is not exported, the key goes to the default host."""
    for skill in (track, query):
        for row in skill.main.table("Variable"):
            assert "exported" in row["Holds"], row["Variable"]


def test_no_jq_program_needs_regular_expressions(sh_blocks, track):
    """Small systems build jq without them, and jq 1.6 crashes over them on some Macs."""
    script = (track.path / "scripts" / "mm").read_text()
    for text in [script, *(block.text for block in sh_blocks.values())]:
        assert not re.search(r"\b(test|match|capture|scan|splits|g?sub)\(", text)


# --- Tracking -----------------------------------------------------------------------------------


def test_what_identify_takes_is_the_contracts(track):
    (sentence,) = re.findall(r"^Identify takes (.+)$", track.document("fields").text, re.M)
    fields = IDENTIFY.request.model_fields
    assert [name for name in codes_in(sentence) if name in fields] == list(fields)
    assert [name for name, field in fields.items() if field.is_required()] == [
        "anonymous_id",
        "user_id",
    ]
    assert "(both required)" in sentence


def test_the_size_of_a_batch_is_the_contracts(track):
    bulk = track.document("bulk").text
    assert f"requests of {MAX_BATCH_EVENTS} events" in bulk
    assert f"{MAX_BODY_BYTES // 1024 // 1024} MiB" in bulk
    assert f"about {MAX_BODY_BYTES // MAX_BATCH_EVENTS // 1000} kB per event" in bulk
    assert f"Up to {MAX_BATCH_EVENTS} events" in track.document("curl").text


def test_the_rate_limits_are_the_apis(track):
    limits = RateLimits()
    rows = track.document("errors").table("Status")
    (row,) = [row for row in rows if "`rate_limited`" in row["`error`"]]
    assert (
        f"track {limits.track_per_s:.0f}/s (burst {limits.track_burst}), "
        f"batch {limits.batch_per_s:.0f}/s (burst {limits.batch_burst})"
    ) in row["Do"]
    assert f"{limits.batch_per_s:.0f} requests a second" in track.document("bulk").text


def test_the_writing_endpoints_are_in_the_plain_calls(track):
    text = track.document("curl").text
    assert [endpoint.path for endpoint in WRITES if endpoint.path not in text] == []


# --- Querying -----------------------------------------------------------------------------------


def test_every_column_of_a_source_is_named(query):
    text = query.document("columns").text
    assert [name for name in SourceRow.model_fields if f"`{name}`" not in text] == []


@pytest.mark.parametrize("endpoint", READS, ids=lambda endpoint: endpoint.path)
def test_every_part_of_a_response_is_named(query, endpoint):
    text = query.document("columns").text
    fields = endpoint.result.model_fields
    names = [field.alias or name for name, field in fields.items()]
    assert [name for name in names if f'"{name}":' not in text] == []


def test_the_paid_media_are_the_classifiers(query):
    (sentence,) = re.findall(r"Paid media are (.+?)\.", query.document("attribution").text, re.S)
    assert set(codes_in(sentence)) == set(PAID_MEDIUMS)


# --- Errors -------------------------------------------------------------------------------------


def errors_in(document):
    """Every (code, status) that the document's table of errors has."""
    return {
        (code, int(status))
        for row in document.table("Status")
        for code in codes_in(row["`error`"])
        for status in row["Status"].split(",")
    }


def answers(codes):
    return {(code.value, status) for code in codes for status in code.statuses}


def test_every_error_of_writing_is_explained(track):
    assert errors_in(track.document("errors")) == answers(set(ErrorCode) - READ_ONLY_CODES)


def test_the_shape_of_a_key_is_the_contracts(track):
    (row,) = [
        row
        for row in track.document("errors").table("Status")
        if row["`error`"] == "`malformed_api_key`"
    ]
    kind, live, test, underscore = codes_in(row["Do"])
    assert parse_api_key(f"{kind}{live}{'a' * PREFIX_LENGTH}{underscore}{SECRET}")
    assert parse_api_key(f"{kind}{test}{'a' * PREFIX_LENGTH}{underscore}{SECRET}")
    assert f"{PREFIX_LENGTH} characters" in row["Do"]
    assert f"{MIN_SECRET_LENGTH} or more" in row["Do"]


def test_every_error_of_reading_is_explained(query):
    said = errors_in(query.document("parameters"))
    known = answers(set(ErrorCode) - WRITE_ONLY_CODES - {ErrorCode.METHOD_NOT_ALLOWED})
    merged = {(code, status) for code, status in said if (code, status) in known}
    assert merged == known
    assert {code for code, _ in said} == {code for code, _ in known}


# --- Setting up ---------------------------------------------------------------------------------


def test_the_settings_are_the_servers(setup):
    said = {
        codes_in(row["Variable"])[0]: (codes_in(row["Option"]), codes_in(row["Default"]))
        for row in setup.document("settings").table("Variable")
    }
    known = {}
    for each in list_settings_of(ServeSettings):
        default = each.default
        shown = str(default).lower() if isinstance(default, bool) else str(default or "")
        option = each.option
        known[each.variable] = ([option] if option else [], [shown] if shown else [])
    assert said == known


def test_the_settings_of_the_apis_mcp_are_the_apis(setup):
    (named,) = re.findall(
        r"`/mcp` of `millimetric-mcp api` takes these of them: ([^.]+)",
        setup.document("settings").text,
    )
    options = {
        settings: {each.option for each in list_settings_of(settings)}
        for settings in (ServeSettings, ApiSettings)
    }
    shared = options[ServeSettings] & options[ApiSettings] - {None, "--host", "--port"}
    assert set(codes_in(named)) == shared


def test_the_errors_of_the_hosted_server_are_the_servers(setup):
    assert f"`{READ_KEY_HEADER}:" in setup.main.text
    signs = " ".join(row["Sign"] for row in setup.document("errors").table("Sign"))
    assert set(re.findall(r"(\d+) `(\w+)`", signs)) == {
        ("401", ErrorCode.MISSING_BEARER_TOKEN),
        ("401", ErrorCode.MALFORMED_API_KEY),
        ("403", ErrorCode.ORIGIN_NOT_ALLOWED),
        ("403", AccessError.KEY_KIND_NOT_ALLOWED),
        ("421", AccessError.HOST_NOT_ALLOWED),
    }


def test_arguments_that_some_clients_refuse_are_named(setup):
    names = {name for tool in TOOLS for name in tool.input_schema["properties"]}
    taken = {name for name in names if keyword.iskeyword(name) or name in SCHEMA_KEYWORDS}
    (sign,) = [
        row["Sign"] for row in setup.document("errors").table("Sign") if "arguments" in row["Sign"]
    ]
    assert set(codes_in(sign)) == taken


def test_the_apis_addresses_are_the_defaults(skill):
    text = skill.main.text
    assert f"default `{DEFAULT_HOST}`" in text
    assert f"`{LOCAL_HOST}`" in text
