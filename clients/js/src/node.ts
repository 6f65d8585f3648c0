// @millimetric/track-node: events from a server.

import { newId, post, type Event, type Properties } from "./wire.ts";

export type { Event, Properties } from "./wire.ts";

export interface Options {
  /** The server key, `sk_...`. */
  key: string;
  /** The API's address; default `https://api.millimetric.ai`. */
  host?: string;
  /** Send at so many queued events; default 1. At 1 each event is its own request. */
  flushAt?: number;
  /** Send what is queued after so many milliseconds; default 2000. */
  flushIntervalMs?: number;
  /** Hold at most so many events; default 10,000. Further ones are dropped, with an error. */
  maxQueued?: number;
  /** Wait so long before a request is repeated; each time twice as long. Default 100. */
  retryWaitMs?: number;
  /** Called with every error. The next `flush()` throws the first one, with or without it. */
  onError?: (error: MillimetricError) => void;
}

export interface Identification {
  anonymous_id: string;
  user_id: string;
  traits?: Properties;
}

export interface Client {
  /** Queue an event. It gets an `event_id` and a `timestamp` if it has none. */
  track(event: Event): void;
  /** Queue a `$identify` event with the traits as properties. */
  identify(identification: Identification): void;
  /** Queue a `$pageview`. */
  page(event: Omit<Event, "event">): void;
  /**
   * Send everything that is queued, and wait until it is stored, at most `timeoutMs` (10,000).
   * After that it throws; what is left stays queued, and is sent later.
   */
  flush(options?: FlushOptions): Promise<void>;
}

export interface FlushOptions {
  timeoutMs?: number;
}

/** What went wrong: the response's `status` and error `code`, and the events that are dropped. */
export class MillimetricError extends Error {
  override name = "MillimetricError";
  status: number | undefined;
  code: string | undefined;
  events: Event[];

  constructor(message: string, { status, code, events = [] }: { status?: number; code?: string; events?: Event[] }) {
    super(message);
    this.status = status;
    this.code = code;
    this.events = events;
  }
}

const MAX_BATCH_EVENTS = 500;
const MAX_BATCH_BYTES = 256 * 1024;
const MAX_ATTEMPTS = 6;
const LONGEST_WAIT_MS = 60_000;
const RETRY_LATER_MS = 30_000;
const TIMEOUT_MS = 10_000; // of one request
const FLUSH_MS = 10_000;

/** Return a client; the module's own functions use the one that `init` made last. */
export function createClient(options: Options): Client {
  const { key, flushAt = 1, flushIntervalMs = 2000, maxQueued = 10_000, retryWaitMs = 100, onError } = options;
  const host = (options.host ?? "https://api.millimetric.ai").replace(/\/+$/, "");
  let queue: Event[] = [];
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let failure: MillimetricError | undefined;

  function report(error: MillimetricError): void {
    failure ??= error;
    onError?.(error);
  }

  function track(event: Event): void {
    if (queue.length >= maxQueued) {
      report(new MillimetricError(`The queue is full (maxQueued: ${maxQueued}). The event is dropped.`, { events: [event] }));
      return;
    }
    const { event_id = newId(), timestamp = new Date().toISOString() } = event;
    queue.push(JSON.parse(JSON.stringify({ ...event, event_id, timestamp })));
    if (queue.length >= flushAt) void sendAll();
    else schedule(flushIntervalMs);
  }

  function schedule(ms: number): void {
    timer ??= setTimeout(sendAll, ms).unref();
  }

  function sendAll(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    running ??= drain().finally(() => (running = undefined));
    return running;
  }

  async function drain(): Promise<void> {
    while (queue.length) {
      const events = take();
      const error = await deliver(events);
      if (!error) continue;
      report(error);
      if (error.events.length) continue; // these are refused; the others are stored
      queue = [...events, ...queue];
      schedule(RETRY_LATER_MS);
      return;
    }
  }

  function take(): Event[] {
    let bytes = 0;
    const most = flushAt === 1 ? 1 : MAX_BATCH_EVENTS;
    const end = queue.findIndex((event, i) => {
      bytes += Buffer.byteLength(JSON.stringify(event)) + 1;
      return i === most || (i > 0 && bytes > MAX_BATCH_BYTES);
    });
    return queue.splice(0, end < 0 ? queue.length : end);
  }

  /** Return undefined once all events are stored. An error with `events`: only these are not. */
  async function deliver(events: Event[]): Promise<MillimetricError | undefined> {
    for (let attempt = 1; ; attempt++) {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      const response = await post(host, key, events, { signal }).catch((error: Error) => error);
      if (response instanceof Error) {
        if (attempt === MAX_ATTEMPTS) return new MillimetricError(`${host} does not answer. Check host.`, {});
      } else {
        const { status } = response;
        const body = await response.json().catch(() => ({}));
        if (response.ok) return;
        const isInvalid = status === 400 || status === 413;
        if (isInvalid && events.length > 1) return deliverEach(events);
        if (status < 429 || attempt === MAX_ATTEMPTS) {
          return new MillimetricError(`${host} answered ${status} ${body.error ?? ""}`.trim(), {
            status,
            code: body.error,
            events: isInvalid ? events : [],
          });
        }
      }
      const retryAfter = response instanceof Error ? null : response.headers.get("Retry-After");
      const backoffMs = retryWaitMs * 2 ** (attempt - 1) * (1 + Math.random());
      await sleep(Math.max(backoffMs, Number(retryAfter) * 1000 || 0));
    }
  }

  /** The API stores all events of a batch or none: send each alone, to store the valid ones. */
  async function deliverEach(events: Event[]): Promise<MillimetricError | undefined> {
    let first: MillimetricError | undefined;
    for (const [i, event] of events.entries()) {
      const error = await deliver([event]);
      if (!error) continue;
      if (!error.events.length) {
        queue = [...events.slice(i), ...queue];
        return first;
      }
      if (first) first.events.push(event);
      else first = error;
    }
    return first;
  }

  async function flush({ timeoutMs = FLUSH_MS }: FlushOptions = {}): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<"late">((resolve) => (timer = setTimeout(resolve, timeoutMs, "late")));
    if ((await Promise.race([sendAll(), timeout])) === "late") {
      report(new MillimetricError(`Not all events were stored within ${timeoutMs} ms (timeoutMs). The others stay queued.`, {}));
    }
    clearTimeout(timer);
    const error = failure;
    failure = undefined;
    if (error) throw error;
  }

  return {
    track,
    identify({ anonymous_id, user_id, traits = {} }) {
      track({ event: "$identify", anonymous_id, user_id, properties: traits });
    },
    page(event) {
      track({ ...event, event: "$pageview" });
    },
    flush,
  };
}

// It keeps no process alive: `flush` does, until its timeout.
function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.min(ms, LONGEST_WAIT_MS)).unref());
}

let client: Client | undefined;

function getClient(): Client {
  if (!client) throw new Error("Call init({ key }) first.");
  return client;
}

/** Create the client that `track`, `identify`, `page` and `flush` use, and return it. */
export function init(options: Options): Client {
  client = createClient(options);
  return client;
}

export const track = (event: Event): void => getClient().track(event);
export const identify = (identification: Identification): void => getClient().identify(identification);
export const page = (event: Omit<Event, "event">): void => getClient().page(event);
export const flush = (options?: FlushOptions): Promise<void> => getClient().flush(options);
