// The tracker of a web page. It never throws into the page, and never waits in it.

import { newId, post, type Event, type Properties } from "./wire.ts";

export interface Options {
  /** The browser key, `pk_...`. */
  key: string;
  /** The API's address; default: the page's own origin. */
  host?: string;
  /** Send `$pageview` on load and on in-page navigation; default true. */
  autoPageView?: boolean;
  /** Send what is queued after so many milliseconds; default 2000. */
  flushIntervalMs?: number;
  /** Send at so many queued events; default 20. */
  flushBatchSize?: number;
  /** Use no visitor id, and store none in the browser. */
  cookieless?: boolean;
  /** Send `$outbound_click` and `$download` for clicked links; default false. */
  outbound?: boolean;
}

export interface Tracker {
  /** Start to send. A second call does nothing. */
  init(options: Options): void;
  track(event: string, properties?: Properties): void;
  /** Send `$identify`, and `user_id` with every later event of this page. Without an id: nothing. */
  identify(user_id: string, traits?: Properties): void;
  /** Send `$pageview`; `name` becomes the property `name`. */
  page(name?: string, properties?: Properties): void;
  /** Send what is queued now; settles when that has succeeded or failed. */
  flush(): Promise<void>;
  /** Return the visitor's id; undefined without one: cookieless, opted out, DNT or GPC. */
  getAnonymousId(): string | undefined;
  setAnonymousId(id: string): void;
  /** Collect nothing in this browser any more, and remove the visitor's id. */
  optOut(): void;
  optIn(): void;
}

interface Entry {
  event: Event;
  at: number; // milliseconds since 1970; 0: the API sets the time
  bytes: number;
  isAlone?: boolean; // the API refused the batch that it was in
}

declare global {
  interface Document {
    prerendering?: boolean;
  }
  interface Navigator {
    globalPrivacyControl?: boolean;
  }
}

/** Return `run` as a function that returns undefined where `run` throws. */
function safe<A extends unknown[], R>(run: (...args: A) => R) {
  return (...args: A): R | undefined => {
    try {
      return run(...args);
    } catch {}
  };
}

export function createTracker(): Tracker {
  const MAX_QUEUED = 500;
  const MAX_EVENT_BYTES = 20_000; // more than the API accepts
  const MAX_REQUEST_BYTES = 60_000; // browsers allow 64 KB with keepalive
  const MAX_FAILURES = 8; // in a row; then nothing is sent until the browser is online again
  const MAX_CHARS = 2048; // of a URL
  const ID = "mm_aid";
  const OPTED_OUT = "mm_out";
  const FILE = /\.(pdf|zip|gz|dmg|exe|csv|docx?|xlsx?|pptx?|mp[34])$/i;

  let key = "";
  let host = "";
  let intervalMs = 2000;
  let batchSize = 20;
  let cookieless: boolean | undefined;
  let user: string | undefined;
  let page = ""; // the address of the page in view
  let referrer = "";
  let lastAt = 0;
  let queue: Entry[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  let running: Promise<void> | undefined;
  let failures = 0;
  let isStopped = false;

  const memory: Record<string, string> = {};
  const getStorage = () => safe(() => localStorage)() || memory; // blocked: for this page only

  const isOff = () =>
    typeof document === "undefined" || // rendered on a server
    navigator.doNotTrack === "1" ||
    navigator.globalPrivacyControl ||
    getStorage()[OPTED_OUT];

  // Read each time: another tab may have written it first.
  const getAnonymousId = safe((): string | undefined => {
    if (cookieless || isOff()) return;
    return (getStorage()[ID] ||= "u_" + newId());
  });

  const startPage = (from: string) => {
    referrer = from;
    page = location.href;
  };

  const add = safe((event: string, properties: Properties) => {
    if (isOff() || isStopped || queue.length >= MAX_QUEUED) return;
    if (!page) startPage(document.referrer);
    if (new URL(page).pathname !== location.pathname) startPage(page);
    const cut = (text: string) => text.slice(0, MAX_CHARS) || undefined;
    const json = JSON.stringify({
      event,
      event_id: newId(),
      user_id: user,
      url: cut(location.href),
      path: cut(location.pathname),
      referrer: cut(referrer),
      properties,
    });
    const bytes = new Blob([json]).size + 200; // with the visitor's id and the time
    if (bytes > MAX_EVENT_BYTES) return;
    lastAt = Math.max(Date.now(), lastAt + 1); // the order of events is that of their times
    queue.push({ event: JSON.parse(json), at: lastAt, bytes });
    if (queue.length >= batchSize && !failures) flush();
    else wait(intervalMs);
  });

  const track = safe((event: string, properties?: Properties) =>
    add(event, {
      $viewport_w: innerWidth,
      $viewport_h: innerHeight,
      $language: navigator.language,
      $timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      ...properties,
    }),
  );

  // --- Sending

  const wait = (ms: number) => {
    timer ||= setTimeout(flush, ms);
  };

  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    return (running ||= sendAll().finally(() => (running = undefined)));
  };

  const sendAll = async () => {
    while (canSend() && (await send()));
  };

  // The page may end now: send everything, and wait for no response.
  const leave = () => {
    while (canSend()) send();
    running = undefined; // in WebKit it never ends if the page comes back from the cache
  };

  const canSend = () => {
    if (isOff()) queue = []; // opted out since: in another tab, or while a request was under way
    return key && queue.length && navigator.onLine && !document.prerendering;
  };

  const take = () => {
    let bytes = 0;
    const end = queue.findIndex((entry, i) => {
      bytes += entry.bytes;
      return i && (entry.isAlone || queue[0].isAlone || bytes > MAX_REQUEST_BYTES);
    });
    return queue.splice(0, end < 0 ? MAX_QUEUED : end);
  };

  const putBack = (entries: Entry[]) => {
    queue = entries.concat(queue).sort((a, b) => a.at - b.at);
  };

  // Return whether to go on with the next events.
  const send = async () => {
    const entries = take();
    const [first] = entries;
    const events = entries.map(({ event, at }) => {
      event.anonymous_id ||= getAnonymousId();
      return at ? { ...event, timestamp: new Date(at).toISOString() } : event;
    });
    const response = await post(host, key, events, { keepalive: true, credentials: "omit" }).catch(() => {});
    await response?.text().catch(() => {}); // until then it counts in the 64 KB
    const status = response?.status;
    if (!response || status === 429 || status === 503) {
      // Not stored.
      const backoffMs = Math.min(2000 * 2 ** failures++, 60_000) * (1 + Math.random());
      putBack(entries);
      if (failures < MAX_FAILURES) wait(Math.max(backoffMs, Number(response?.headers.get("Retry-After")) * 1000 || 0));
      else stop();
      return false;
    }
    failures = 0;
    if (status === 400 && entries[1]) putBack(entries.map((entry) => ({ ...entry, isAlone: true })));
    else if (status === 400 && first.at) putBack([{ ...first, at: 0 }]); // this computer's clock may be wrong
    else if (status! > 400 && status! < 406) stop(); // a wrong key, origin or address
    return true;
  };

  const stop = () => {
    isStopped = true;
    queue = [];
  };

  // --- What pages do

  const navigate = safe((isReplaced: boolean) => {
    const last = new URL(page);
    if (last.pathname === location.pathname && (isReplaced || last.search === location.search)) {
      page = location.href; // the same page with another query or fragment
      return;
    }
    startPage(page);
    track("$pageview");
  });

  const watchNavigation = () => {
    for (const name of ["pushState", "replaceState"] as const) {
      const original = history[name];
      history[name] = function (...args) {
        original.apply(this, args);
        navigate(name === "replaceState");
      };
    }
    addEventListener("popstate", () => navigate(false));
    addEventListener("pageshow", (event) => {
      if (!event.persisted) return;
      startPage(location.href); // back from the cache: the visit came from no other site
      track("$pageview");
    });
  };

  const click = safe((event: MouseEvent) => {
    const link = (event.target as Element).closest<HTMLAnchorElement>("a[href]");
    if (event.button > 1 || !/^https?:$/.test(link!.protocol)) return; // the right button opens no link
    const href = link!.origin + link!.pathname;
    if (link!.hasAttribute("download") || FILE.test(href)) track("$download", { href });
    else if (link!.host !== location.host) track("$outbound_click", { href });
  });

  const start = (options: Options) => {
    if (options.autoPageView !== false) {
      watchNavigation();
      track("$pageview");
    }
    wait(intervalMs);
  };

  const init = safe((options: Options) => {
    if (key || typeof document === "undefined") return;
    key = options.key;
    host = (options.host || "").replace(/\/+$/, "");
    intervalMs = options.flushIntervalMs ?? intervalMs;
    batchSize = options.flushBatchSize ?? batchSize;
    cookieless = options.cookieless;
    page || startPage(document.referrer);
    addEventListener("pagehide", leave);
    document.addEventListener("visibilitychange", () => document.hidden && leave());
    addEventListener("online", () => {
      failures = 0;
      isStopped = false;
      flush();
    });
    if (options.outbound) for (const name of ["click", "auxclick"] as const) addEventListener(name, click, true);
    if (document.prerendering) document.addEventListener("prerenderingchange", () => start(options), { once: true });
    else start(options);
  });

  return {
    init,
    track,
    identify: safe((id, traits) => {
      const given = String(id ?? "");
      if (!given || given.length > 256) return; // the API would refuse every later event too
      user = given;
      add("$identify", traits || {});
    }),
    page: safe((name, properties) => {
      if (page && page !== location.href) startPage(page);
      track("$pageview", name ? { name, ...properties } : properties);
    }),
    flush,
    getAnonymousId,
    setAnonymousId: safe((id) => {
      for (const { event } of queue) event.anonymous_id ||= getAnonymousId();
      if (id.length <= 128 && !cookieless && !isOff()) getStorage()[ID] = id;
    }),
    optOut: safe(() => {
      queue = [];
      delete getStorage()[ID];
      getStorage()[OPTED_OUT] = "1";
    }),
    optIn: safe(() => {
      delete getStorage()[OPTED_OUT];
    }),
  };
}
