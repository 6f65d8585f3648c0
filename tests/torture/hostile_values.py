"""Values, names and headers that break programs."""

import json

NESTED = json.loads("[" * 60 + "1" + "]" * 60)
VALUES = [
    None, True, False, 0, -1, 2**31, 2**63, 2**64, -(10**40), 1e308, -0.0, 5e-324, "", " ", "\0",
    "a" * 129, "a" * 300, "a" * 9000, "\u202eevil", "\ud800", "\ufeff", "é" * 128, "👩‍👩‍👧‍👦" * 20,
    "\r\nX: y", "' OR 1=1 --", "{{7*7}}", "${jndi:ldap://x}", "%s%n%x", "{0}", "<script>",
    "NaN", "Infinity", "1e999", "0x10", "٣", "null", "undefined", "true", "[]", "{}",
    "2026-02-30T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "2026-05-16",
    "2026-05-16T24:00:00+99:99", "-1d", "99999999d", "last_month", "Europe/Atlantis",
    "http://[::1", "http://a" + "b" * 2100, "https://user:pass@x/?fbclid=1&utm_source={{x}}",
    "javascript:alert(1)",
    [], {}, [[]], {"": ""}, [None], ["x"] * 300, {"a": {"b": {"c": [1, 2, {"d": None}]}}}, NESTED,
    {"$gt": 0}, {"__proto__": {"x": 1}}, {f"k{n}": n for n in range(400)},
]  # fmt: skip
NAMES = ["", "event", "events", "from", "to", "limit", "group_by", "properties.a", "properties.",
         "event[not]", "event[", "country[prefix]", "order", "before", "after", "steps", "within",
         "metric", "property", "timezone", "attribution", "bots", "\0", "a" * 200]  # fmt: skip
METHODS = ["tools/list", "tools/call", "resources/list", "resources/read", "prompts/list",
           "prompts/get", "completion/complete", "ping", "initialize", "logging/setLevel", "x", "",
           "server/discover", "resources/templates/list", "notifications/cancelled"]  # fmt: skip
TYPES = [
    "text/plain",
    "application/json; charset=utf-16",
    "multipart/form-data; boundary=x",
    "\x80",
]
HEADERS = ["mcp-session-id", "mcp-protocol-version", "x-forwarded-for", "user-agent", "accept",
           "origin", "millimetric-read-key"]  # fmt: skip
