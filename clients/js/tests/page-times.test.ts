// The page's days: where buckets begin in zones whose clocks change.

import assert from "node:assert/strict";
import { test } from "node:test";

const file = new URL("../../../millimetric_mcp/api/page/times.js", import.meta.url).href;
const { bucketsOf, windowOf } = (await import(file)) as Record<string, (...given: unknown[]) => any>;

const starts = (zone: string, from: string, to: string, interval: string): string[] => {
  const window = windowOf({ range: "custom", from, to, zone }, Date.parse("2026-12-01T00:00:00Z"));
  return bucketsOf(window, interval, zone).map((ms: number) => new Date(ms).toISOString());
};

test("days begin at midnight of the zone on both sides of a change of clocks", () => {
  const days = starts("Europe/Berlin", "2026-10-24", "2026-10-26", "day");
  assert.deepEqual(days, ["2026-10-23T22:00:00.000Z", "2026-10-24T22:00:00.000Z", "2026-10-25T23:00:00.000Z"]);
});

test("a day begins an hour later where clocks skip midnight", () => {
  const days = starts("America/Santiago", "2026-09-05", "2026-09-07", "day");
  assert.deepEqual(days, ["2026-09-05T04:00:00.000Z", "2026-09-06T04:00:00.000Z", "2026-09-07T03:00:00.000Z"]);
});

test("weeks begin on the Monday before the range", () => {
  assert.deepEqual(starts("UTC", "2026-09-02", "2026-09-08", "week"), ["2026-08-31T00:00:00.000Z", "2026-09-07T00:00:00.000Z"]);
});

test("the range today is compared with yesterday until the same time", () => {
  const now = Date.parse("2026-09-08T15:00:00Z");
  const { before } = windowOf({ range: "today", zone: "UTC" }, now);
  assert.deepEqual([before.from, before.to], [Date.parse("2026-09-07T00:00:00Z"), Date.parse("2026-09-07T15:00:00Z")]);
});
