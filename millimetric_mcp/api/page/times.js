// Days, weeks and months of a time zone as moments.

const DAY_MS = 86_400_000;
const formats = new Map();

function formatOf(zone) {
  if (!formats.has(zone)) {
    formats.set(zone, new Intl.DateTimeFormat("en-u-ca-gregory", {
      timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric",
      hour: "numeric", minute: "numeric", second: "numeric",
    }));
  }
  return formats.get(zone);
}

/** Return whether the browser knows a time zone. */
export function isZone(zone) {
  try {
    return Boolean(formatOf(zone));
  } catch {
    return false;
  }
}

/** Return what the zone's clocks show at a moment, as if it were UTC, in milliseconds. */
function wallOf(ms, zone) {
  const part = Object.fromEntries(formatOf(zone).formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
}

/** Return a moment's day in the zone: midnight as if it were UTC, in milliseconds. */
export function dayOf(ms, zone) {
  return Math.floor(wallOf(ms, zone) / DAY_MS) * DAY_MS;
}

/** Return the moment at which a day of `dayOf` begins in the zone: later if clocks skip midnight. */
export function startOf(day, zone) {
  const guess = day - (wallOf(day, zone) - day);
  const start = guess - (wallOf(guess, zone) - day);
  return start + Math.max(0, day - wallOf(start, zone));
}

/** Return the day that `YYYY-MM-DD` names; NaN if it names none. */
export const readDay = (text) => (/^\d{4}-\d\d-\d\d$/.test(text ?? "") ? Date.parse(`${text}T00:00:00Z`) : NaN);

/** Return a day as `YYYY-MM-DD`. */
export const writeDay = (day) => new Date(day).toISOString().slice(0, 10);

const LENGTHS = { today: 1, "7d": 7, "30d": 30, "90d": 90 };

/** Return the window `{from, to, before: {from, to}}` of a range, in milliseconds; null if there is none. */
export function windowOf({ range, from, to, zone }, now) {
  const today = dayOf(now, zone);
  const first = range === "custom" ? readDay(from) : today - (LENGTHS[range] - 1) * DAY_MS;
  const end = range === "custom" ? readDay(to) + DAY_MS : today + DAY_MS;
  const last = Math.min(end, today + DAY_MS);
  if (!(first < last)) return null;
  const start = startOf(first, zone);
  const stop = Math.min(startOf(last, zone), now);
  const earlier = startOf(first - (last - first), zone);
  return { from: start, to: stop, before: { from: earlier, to: Math.min(start, earlier + stop - start) } };
}

/** Return the interval whose buckets make a readable chart. */
export function intervalOf({ from, to }) {
  const days = (to - from) / DAY_MS;
  if (days <= 2) return "hour";
  if (days <= 120) return "day";
  return days <= 800 ? "week" : "month";
}

/** Return the moments at which the buckets of a window begin. */
export function bucketsOf({ from, to }, interval, zone) {
  const found = [];
  if (interval === "hour") {
    for (let at = from; at < to; at += 3_600_000) found.push(at);
    return found;
  }
  let day = dayOf(from, zone);
  if (interval === "week") day -= ((new Date(day).getUTCDay() + 6) % 7) * DAY_MS;
  if (interval === "month") day = Date.UTC(new Date(day).getUTCFullYear(), new Date(day).getUTCMonth(), 1);
  while (startOf(day, zone) < to) {
    found.push(startOf(day, zone));
    const date = new Date(day);
    if (interval === "month") day = Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1);
    else day += (interval === "week" ? 7 : 1) * DAY_MS;
  }
  return found;
}
