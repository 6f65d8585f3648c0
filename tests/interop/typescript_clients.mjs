// Both TypeScript clients, on every transport and in every way of agreeing on a version:
// list, call, a refused argument, a resource, a prompt, and a forget that asks its user.
//
//   node typescript_clients.mjs COMMAND BASE_URL    (keys in the environment)

import assert from "node:assert/strict";
import * as modern from "@modelcontextprotocol/client";
import { StdioClientTransport as ModernStdio } from "@modelcontextprotocol/client/stdio";
import { Client as SdkClient } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport as SdkSse } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport as SdkStdio } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as SdkHttp } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [command, baseUrl] = process.argv.slice(2);
const { MILLIMETRIC_HOST, MILLIMETRIC_KEY, MILLIMETRIC_RK, PATH } = process.env;
const child = { command, args: [], env: { MILLIMETRIC_HOST, MILLIMETRIC_KEY, MILLIMETRIC_RK, PATH } };
const url = (path) => new URL(path, baseUrl);
const info = { name: "interop", version: "1.0.0" };
const capabilities = { elicitation: {} };

const transports = {
  sdk: {
    stdio: () => new SdkStdio(child),
    sse: () => new SdkSse(url("/sse")),
    http: () => new SdkHttp(url("/mcp")),
  },
  client: {
    stdio: () => new ModernStdio(child),
    sse: () => new modern.SSEClientTransport(url("/sse")),
    http: () => new modern.StreamableHTTPClientTransport(url("/mcp")),
  },
};
const clients = [
  ["sdk", undefined, "2025-11-25"],
  ["client", "legacy", "2025-11-25"],
  ["client", "auto", "2026-07-28"],
  ["client", { pin: "2026-07-28" }, "2026-07-28"],
];

function makeClient(kind, mode) {
  if (kind === "sdk") return new SdkClient(info, { capabilities });
  return new modern.Client(info, { capabilities, versionNegotiation: { mode } });
}

function answerQuestions(client, kind, asked) {
  const answer = async (request) => {
    asked.push(request.params.message);
    return { action: "decline" };
  };
  client.setRequestHandler(kind === "sdk" ? ElicitRequestSchema : "elicitation/create", answer);
}

async function exercise(client) {
  const { tools } = await client.listTools();
  const names = tools.map((tool) => tool.name);
  assert.ok(["track_event", "forget", "top_sources"].every((name) => names.includes(name)));

  const call = (name, args) => client.callTool({ name, arguments: args });
  const tracked = await call("track_event", { event: "interop", event_id: "interop-1" });
  assert.equal(tracked.structuredContent.event_id, "interop-1");
  const stats = await call("stats", { event: "interop", group_by: ["source"], interval: "day" });
  assert.ok(stats.structuredContent.total >= 1, JSON.stringify(stats));
  assert.match(stats.content[0].text, /^Total \d+ events of "interop"/);
  const refused = await call("stats", { evnt: "interop" });
  assert.equal(refused.isError, true);
  assert.match(refused.content[0].text, /did you mean event\?/);

  const { contents } = await client.readResource({ uri: "source://rules" });
  assert.match(contents[0].text, /fb_ad_redirect/);
  const prompt = await client.getPrompt({ name: "paid_vs_organic", arguments: {} });
  assert.match(prompt.messages[0].content.text, /top_sources/);
  return call("forget", { user_id: "nobody" });
}

for (const [kind, mode, version] of clients) {
  for (const [transport, open] of Object.entries(transports[kind])) {
    const client = makeClient(kind, mode);
    const asked = [];
    answerQuestions(client, kind, asked);
    await client.connect(open());
    const forgotten = await exercise(client);
    assert.equal(forgotten.structuredContent.queued, false);
    assert.equal(asked.length, 1);
    if (kind === "client") assert.equal(client.getNegotiatedProtocolVersion(), version);
    await client.close();
    console.log(`ok  ${kind} ${mode ? JSON.stringify(mode) : ""} ${transport} ${version}`);
  }
}
process.exit(0);
