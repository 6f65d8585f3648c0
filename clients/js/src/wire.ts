// What travels to the API: events, and the request that carries them.

export type Properties = Record<string, unknown>;

/** One event, in the API's own names. */
export interface Event {
  event: string;
  event_id?: string;
  /** ISO 8601 with an offset; without it, the time at which the API receives the event. */
  timestamp?: string;
  anonymous_id?: string;
  user_id?: string;
  session_id?: string;
  url?: string;
  path?: string;
  referrer?: string;
  properties?: Properties;
}

/** Return 32 random hexadecimal digits. `crypto.randomUUID` is missing on plain http pages. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Send one event to `/v1/track`, or more to `/v1/batch`. */
export async function post(host: string, key: string, events: Event[], options: RequestInit): Promise<Response> {
  const isBatch = events.length > 1;
  return fetch(`${host}/v1/${isBatch ? "batch" : "track"}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: JSON.stringify(isBatch ? { events } : events[0]),
    ...options,
  });
}
