// @millimetric/track-node against a real HTTP server.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { promisify } from "node:util";
import { createClient, MillimetricError, type Event } from "../src/node.ts";

interface Request {
  path: string;
  authorization?: string;
  events: Event[];
}

type Answer = { status: number; body?: object; headers?: Record<string, string> };

let host: string;
let requests: Request[];
let answer: (request: Request) => Answer;
const server = createServer(async (request: IncomingMessage, response: ServerResponse) => {
  const chunks = await request.toArray();
  const body = JSON.parse(Buffer.concat(chunks).toString());
  const received = { path: request.url!, authorization: request.headers.authorization, events: body.events ?? [body] };
  requests.push(received);
  const { status, body: answered = {}, headers } = answer(received);
  response.writeHead(status, headers).end(JSON.stringify(answered));
});

beforeEach(async () => {
  requests = [];
  answer = () => ({ status: 202 });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  host = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(() => new Promise((resolve) => {
  server.closeAllConnections();
  server.close(resolve);
}));

const newClient = (options = {}) => createClient({ key: "sk_live_x", host, retryWaitMs: 1, ...options });
const namesOf = (request: Request) => request.events.map((event) => event.event);

/** Answer with these statuses, one after the other, and then 202. */
function answerFirst(...statuses: number[]): void {
  answer = () => ({ status: statuses.shift() ?? 202, headers: { "Retry-After": "0" } });
}

test("an event is sent to /v1/track with the key, an id and its time", async () => {
  const client = newClient();
  client.track({ event: "signup", anonymous_id: "u_1", properties: { plan: "free" } });
  await client.flush();

  const [{ path, authorization, events }] = requests;
  assert.deepEqual([path, authorization], ["/v1/track", "Bearer sk_live_x"]);
  const { event_id, timestamp, ...rest } = events[0];
  assert.deepEqual(rest, { event: "signup", anonymous_id: "u_1", properties: { plan: "free" } });
  assert.match(event_id!, /^[0-9a-f]{32}$/);
  assert.equal(new Date(timestamp!).toISOString(), timestamp);
});

test("an event keeps the id and time that it has", async () => {
  const client = newClient();
  const event = { event: "signup", event_id: "evt_1", timestamp: "2026-05-16T19:00:00.000Z" };
  client.track(event);
  await client.flush();

  assert.deepEqual(requests[0].events, [event]);
});

test("an event whose id and time are undefined gets both", async () => {
  const client = newClient();
  client.track({ event: "signup", event_id: undefined, timestamp: undefined });
  await client.flush();

  const [{ event_id, timestamp }] = requests[0].events;
  assert.match(event_id!, /^[0-9a-f]{32}$/);
  assert.ok(Date.parse(timestamp!) > 0);
});

test("identify sends a $identify event, and page a $pageview", async () => {
  const client = newClient();
  client.identify({ anonymous_id: "u_1", user_id: "user_42", traits: { plan: "pro" } });
  client.page({ anonymous_id: "u_1", url: "https://shop.example/" });
  await client.flush();

  const [identification, page] = requests.map(({ events }) => events[0]);
  assert.equal(identification.event, "$identify");
  assert.deepEqual([identification.user_id, identification.properties], ["user_42", { plan: "pro" }]);
  assert.deepEqual([page.event, page.url], ["$pageview", "https://shop.example/"]);
});

test("events are sent one by one, in order, at flushAt 1", async () => {
  const client = newClient();
  for (const event of ["a", "b", "c"]) client.track({ event });
  await client.flush();

  assert.deepEqual(requests.map((request) => [request.path, ...namesOf(request)]), [
    ["/v1/track", "a"],
    ["/v1/track", "b"],
    ["/v1/track", "c"],
  ]);
});

test("events are sent as one batch when flushAt is reached", async () => {
  const client = newClient({ flushAt: 3 });
  for (const event of ["a", "b"]) client.track({ event });
  assert.equal(requests.length, 0);
  client.track({ event: "c" });
  await client.flush();

  assert.deepEqual(requests.map((request) => [request.path, ...namesOf(request)]), [["/v1/batch", "a", "b", "c"]]);
});

test("fewer events than flushAt are sent by themselves after the interval", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  answer = () => (resolve(), { status: 202 });
  const client = newClient({ flushAt: 100, flushIntervalMs: 1 });
  client.track({ event: "a" });
  client.track({ event: "b" });
  const hold = setInterval(() => {}, 1000); // the client's own timer keeps no process alive
  await promise;
  clearInterval(hold);

  assert.deepEqual(requests.map(namesOf), [["a", "b"]]);
});

test("a batch holds at most 500 events and 256 KiB", async () => {
  const client = newClient({ flushAt: 10_000 });
  for (let i = 0; i < 501; i++) client.track({ event: "small" });
  for (let i = 0; i < 40; i++) client.track({ event: "large", properties: { text: "x".repeat(8000) } });
  await client.flush();

  assert.deepEqual(requests.map(({ events }) => events.length), [500, 33, 8]);
  assert.ok(requests.every(({ events }) => JSON.stringify({ events }).length <= 256 * 1024));
});

for (const status of [429, 500, 502, 503]) {
  test(`the same events are sent again after ${status}`, async () => {
    answerFirst(status, status);
    const client = newClient();
    client.track({ event: "signup" });
    await client.flush();

    assert.equal(requests.length, 3);
    assert.equal(new Set(requests.map(({ events }) => events[0].event_id)).size, 1);
  });
}

test("the wait after 429 is at least what Retry-After says", async () => {
  const times: number[] = [];
  answer = () => (times.push(Date.now()), times.length === 1 ? { status: 429, headers: { "Retry-After": "1" } } : { status: 202 });
  const client = newClient();
  client.track({ event: "signup" });
  await client.flush();

  assert.ok(times[1] - times[0] >= 1000 - 1);
});

test("flush throws the status and code of a refused key, and keeps the events", async () => {
  answer = () => ({ status: 401, body: { error: "invalid_api_key" } });
  const client = newClient();
  client.track({ event: "a" });
  client.track({ event: "b" });
  await assert.rejects(client.flush(), (error: MillimetricError) => {
    assert.deepEqual([error.status, error.code, error.events], [401, "invalid_api_key", []]);
    return true;
  });
  assert.deepEqual(requests.map(namesOf), [["a"]]);
  answer = () => ({ status: 202 });
  requests = [];
  await client.flush();

  assert.deepEqual(requests.map(namesOf), [["a"], ["b"]]);
});

test("one invalid event of a batch is named by the error, and the others are stored", async () => {
  answer = ({ events }) =>
    events.some(({ event }) => event === "bad") ? { status: 400, body: { error: "invalid_payload" } } : { status: 202 };
  const client = newClient({ flushAt: 10 });
  for (const event of ["a", "bad", "c"]) client.track({ event });
  await assert.rejects(client.flush(), (error: MillimetricError) => {
    assert.deepEqual([error.status, error.code, error.events.map(({ event }) => event)], [400, "invalid_payload", ["bad"]]);
    return true;
  });

  assert.deepEqual(requests.slice(1).map(namesOf), [["a"], ["bad"], ["c"]]);
  await client.flush(); // it throws once, and nothing is left
});

test("events that could not be sent stay in order before later ones", async () => {
  answer = () => ({ status: 503 });
  const client = newClient({ flushAt: 10 });
  client.track({ event: "a" });
  client.track({ event: "b" });
  await assert.rejects(client.flush(), { status: 503 });
  assert.equal(requests.length, 6);
  answer = () => ({ status: 202 });
  requests = [];
  client.track({ event: "c" });
  await client.flush();

  assert.deepEqual(requests.map(namesOf), [["a", "b", "c"]]);
});

test("flush throws after its timeout, and what is left is sent later, once", async () => {
  answerFirst(503);
  const client = newClient({ retryWaitMs: 300 });
  for (const event of ["a", "b"]) client.track({ event });
  const start = Date.now();
  await assert.rejects(client.flush({ timeoutMs: 50 }), { message: /within 50 ms \(timeoutMs\)/, events: [] });
  assert.ok(Date.now() - start < 250);
  await client.flush();

  assert.deepEqual(requests.map(namesOf), [["a"], ["a"], ["b"]]);
});

test("flush keeps the process alive until its timeout, and no longer", async () => {
  answer = () => ({ status: 503, headers: { "Retry-After": "30" } });
  const script = `import { createClient } from ${JSON.stringify(import.meta.resolve("../src/node.ts"))};
    const client = createClient({ key: "sk_live_x", host: ${JSON.stringify(host)} });
    client.track({ event: "a" });
    await client.flush({ timeoutMs: 300 }).catch((error) => console.log(error.message));`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { timeout: 10_000 });

  assert.match(stdout, /within 300 ms/);
});

test("flush names the host when nothing answers", async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  const client = newClient();
  client.track({ event: "a" });

  await assert.rejects(client.flush(), { message: `${host} does not answer. Check host.`, status: undefined });
  server.listen(0);
});

test("an event beyond maxQueued is dropped with an error", async () => {
  const errors: MillimetricError[] = [];
  const client = newClient({ flushAt: 10, maxQueued: 2, onError: (error: MillimetricError) => errors.push(error) });
  for (const event of ["a", "b", "c"]) client.track({ event });

  await assert.rejects(client.flush(), /The queue is full \(maxQueued: 2\)/);
  assert.deepEqual(errors[0].events.map(({ event }) => event), ["c"]);
  assert.deepEqual(requests.map(namesOf), [["a", "b"]]);
});

test("an event is what it was when it was tracked", async () => {
  const client = newClient({ flushAt: 10 });
  const properties = { plan: "free" };
  client.track({ event: "signup", properties });
  properties.plan = "pro";
  await client.flush();

  assert.deepEqual(requests[0].events[0].properties, { plan: "free" });
});

test("errors of a client that is not flushed reach onError and end nothing", async () => {
  answer = () => ({ status: 400, body: { error: "invalid_payload" } });
  const { promise, resolve } = Promise.withResolvers<MillimetricError>();
  newClient({ onError: resolve }).track({ event: "" });

  assert.equal((await promise).code, "invalid_payload");
});
