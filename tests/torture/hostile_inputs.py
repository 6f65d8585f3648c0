"""Requests with the structure of valid ones, in which something is hostile."""

import gzip
import json
import random
from urllib.parse import quote, urlencode

from millimetric_mcp.contract.endpoints import ENDPOINTS, IMPORT_UNDO
from millimetric_mcp.contract.keys import Scope
from millimetric_mcp.mcp.tools import TOOLS
from tests.torture.hostile_values import HEADERS, METHODS, NAMES, TYPES, VALUES

READS = [item for item in ENDPOINTS if item.method == "GET"]
# An import is taken back while its sender waits: as long as it takes.
WRITES = [item for item in ENDPOINTS if item.method == "POST" and item is not IMPORT_UNDO]


def make_random(seed):
    return random.Random(seed)


def make_http_request(chance, keys):
    """Return a request to an endpoint of the API, whole, as bytes."""
    endpoint = chance.choice(WRITES if chance.random() < 0.95 else READS)
    fitting = "rk" if endpoint.method == "GET" else "sk"
    key = keys[fitting if chance.random() < 0.9 else chance.choice(["sk", "rk", "pk"])]
    example = mutate(chance, endpoint.request_example, times=chance.choice([1, 2, 4, 8]))
    target, body = endpoint.path, b""
    if endpoint.method == "GET":
        items = [(str(name), _as_text(value)) for name, value in _items(example)]
        target += "?" + urlencode(items, errors="replace")
    else:
        body = _spoil(chance, _as_json(example))
    return _write(chance, endpoint.method, target, key, body)


def make_mcp_request(chance, keys):
    """Return a JSON-RPC message to ``/mcp`` that stands alone, whole, as bytes."""
    tool = chance.choice(TOOLS)
    properties = tool.input_schema.get("properties", {})
    arguments = {
        name: chance.choice(VALUES)
        for name in properties
        if chance.random() < 0.5 or name in tool.input_schema.get("required", ())
    }
    params = {"name": tool.name, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": chance.choice([1, "a", 2**60]), "method": "tools/call"}
    message["params"] = params
    if chance.random() < 0.3:
        message["method"] = chance.choice(METHODS)
    if chance.random() < 0.4:
        message = mutate(chance, message, times=1)
    body = _spoil(chance, _as_json(message))
    key = keys["rk" if tool.scope is Scope.READ else "sk"]
    return _write(chance, "POST", "/mcp", key if chance.random() < 0.95 else keys["pk"], body)


def mutate(chance, value, *, times):
    """Return a copy in which so many places hold, lack or repeat something else."""
    for _ in range(times):
        value = _change(chance, value)
    return value


def _change(chance, value):
    if isinstance(value, dict) and value and chance.random() < 0.85:
        changed = dict(value)
        name = chance.choice(list(changed))
        match chance.randrange(4):
            case 0:
                del changed[name]
            case 1:
                changed[chance.choice(NAMES)] = chance.choice(VALUES)
            case _:
                changed[name] = _change(chance, changed[name])
        return changed
    if isinstance(value, list) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        return [*value[:place], _change(chance, value[place]), *value[place:]]
    return chance.choice(VALUES)


def _spoil(chance, body):
    """Return the body, seldom with other bytes in it."""
    if chance.random() > 0.1 or not body:
        return body
    place = chance.randrange(len(body))
    junk = chance.choice([b"\xff", b"\0", b"\\", b'"', b"[", b"}", b"\xed\xa0\x80", b"1e", b""])
    return body[:place] + junk + body[place + chance.randrange(3) :]


def _write(chance, method, target, key, body):
    headers = {"authorization": f"Bearer {key}"}
    if target != "/mcp":
        headers["origin"] = "https://shop.example"
    if method == "POST":
        headers["content-type"] = "application/json"
    odd = chance.random()
    if odd < 0.03:
        headers["content-type"] = chance.choice(TYPES)
    elif odd < 0.06:
        headers["content-encoding"] = chance.choice(["gzip", "br", "gzip, gzip", "deflate"])
        body = gzip.compress(body)[: chance.choice([None, 15])]
    elif odd < 0.09:
        headers["authorization"] = chance.choice(
            ["", "Bearer", f"Basic {key}", f"bearer  {key[1:]}"]
        )
    elif odd < 0.12:
        headers[chance.choice(HEADERS)] = quote(str(chance.choice(VALUES)), errors="replace")[:300]
    lines = [f"{method} {target} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def _items(example):
    return example.items() if isinstance(example, dict) else [("x", example)]


def _as_text(value):
    return value if isinstance(value, str) else json.dumps(value)


def _as_json(value):
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
