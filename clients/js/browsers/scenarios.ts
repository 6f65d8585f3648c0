// What the script and the module do in a real browser, against a running API.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { LAUNCH, until, type Browser, type Tab, type Visitor } from "./drivers.ts";
import { Api, buildApp, Gate, Site, type Row } from "./world.ts";

const LANDING = "?utm_source=facebook&utm_medium=cpc&utm_campaign=spring&fbclid=abc";

const api = new Api();
const gate = new Gate(api);
const shop = new Site("127.0.0.1", { "/react.js": buildApp("react.jsx"), "/vue.js": buildApp("vue.js") });
const elsewhere = new Site("127.0.0.2");
let key: string;

before(async () => {
  await Promise.all([api.start(), shop.start(), elsewhere.start()]);
  await gate.start();
  key = api.createKey("pk", shop.url);
});

after(async () => {
  for (const server of [gate, shop, elsewhere]) server.stop();
  await api.stop();
});

/** The tag as it is pasted, with further attributes. */
const tag = (attributes = "") => `<script async src="${gate.url}/v1/a.js" data-key="${key}" ${attributes}></script>`;
const inline = (code: string) => `<script>${code}</script>`;

const pathsOf = (rows: Row[]) => rows.map(({ path }) => path);
const namesOf = (rows: Row[]) => rows.map(({ event_name }) => event_name);
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

/** Wait for so many events of the page's visitor, and a little longer for any that are too many. */
async function rowsOf(tab: Tab, count: number): Promise<Row[]> {
  const id = await tab.run<string>("return mm.getAnonymousId()");
  return rowsWith({ anonymous_id: id }, count);
}

async function rowsWith(filter: Record<string, string>, count: number, seconds = 15): Promise<Row[]> {
  await until(async () => (await api.rows(filter)).length >= count, seconds);
  await new Promise((resolve) => setTimeout(resolve, 200));
  return api.rows(filter);
}

/** Wait until the tab shows a path; it has no context while it goes from page to page. */
async function shows(tab: Tab, path: string): Promise<void> {
  const check = `return location.pathname === ${JSON.stringify(path)} && document.readyState === "complete"`;
  assert.ok(await until(() => tab.run(check).catch(() => false)), `the tab shows ${path}`);
}

/** Declare the tests of one browser. */
export function testIn(name: keyof typeof LAUNCH): void {
  let browser: Browser;
  let visitor: Visitor;
  let tab: Tab;

  before(async () => {
    browser = await LAUNCH[name]();
  });

  after(() => browser?.close());

  beforeEach(async () => {
    Object.assign(gate, { isOpen: true, statuses: [], delayMs: 0, writes: 0 });
    Object.assign(shop, { head: tag(), headers: {}, requested: [] });
    visitor = await browser.newVisitor();
    tab = await visitor.newTab();
  });

  afterEach(() => visitor.leave());

  test("a page sends one $pageview with its address, its referrer and nothing else", async () => {
    elsewhere.head = inline(`onload = () => { location.href = ${JSON.stringify(shop.url + "/landing" + LANDING + "#top")} }`);
    await tab.open(elsewhere.url);
    await shows(tab, "/landing");
    const [row, ...others] = await rowsOf(tab, 1);

    assert.deepEqual(others, []);
    assert.equal(row.event_name, "$pageview");
    assert.equal(row.url, `${shop.url}/landing${LANDING}#top`);
    assert.equal(row.path, "/landing");
    assert.equal(row.referrer, `${elsewhere.url}/`);
    assert.deepEqual([row.source, row.medium], ["facebook", "paid"]);
    const shown = "[innerWidth, innerHeight, navigator.language, Intl.DateTimeFormat().resolvedOptions().timeZone]";
    const [$viewport_w, $viewport_h, $language, $timezone] = await tab.run<unknown[]>(`return ${shown}`);
    assert.deepEqual(JSON.parse(row.properties), { $viewport_w, $viewport_h, $language, $timezone });
    assert.deepEqual(await tab.run("return [document.cookie, Object.keys(localStorage)]"), ["", ["mm_aid"]]);
    assert.deepEqual(await tab.readErrors(), []);
  });

  test("twenty pages that are left at once, and a reload, count once each and in order", async () => {
    const next = `const [, number] = location.pathname.split("/page/");
      onload = () => { if (number < 20) location.href = "/page/" + (Number(number) + 1); }`;
    shop.head = tag() + inline(next);
    await tab.open(`${shop.url}/page/1${LANDING}`);
    await shows(tab, "/page/20");
    await tab.run("setTimeout(() => location.reload(), 0)");
    await until(async () => (await rowsOf(tab, 21).catch(() => [])).length >= 21);
    const rows = await rowsOf(tab, 21);

    assert.deepEqual(pathsOf(rows), [...range(1, 20), 20].map((number) => `/page/${number}`));
    assert.deepEqual([...new Set(rows.map(({ source, medium }) => `${source}/${medium}`))], ["facebook/paid", "internal/direct"]);
    assert.equal(rows[1].source, "internal");
  });

  for (const app of ["react", "vue"]) {
    test(`twenty pages of a ${app} router, back, and a redirect count once each and in order`, async () => {
      const options = JSON.stringify({ key, host: gate.url });
      shop.head = `${app === "react" ? tag() : inline(`window.options = ${options}`)}<script defer src="/${app}.js"></script>`;
      await tab.open(`${shop.url}/${app}/1${LANDING}`);
      for (const number of range(2, 20)) {
        await tab.run("document.getElementById('next').click()");
        await shows(tab, `/${app}/${number}`);
        await tab.run("return new Promise((resolve) => setTimeout(resolve, 20))");
      }
      await tab.run("history.back()");
      await shows(tab, `/${app}/19`);
      await tab.run("document.getElementById('moved').click()");
      await shows(tab, `/${app}/new`);
      await tab.run("await mm.flush()");
      const rows = await rowsOf(tab, 22);

      const redirect = app === "react" ? ["old", "new"] : ["new"]; // Vue's redirects never show the first address
      assert.deepEqual(pathsOf(rows), [...range(1, 20), 19, ...redirect].map((part) => `/${app}/${part}`));
      assert.deepEqual(rows.map(({ source }) => source), ["facebook", ...rows.slice(1).map(() => "internal")]);
      assert.deepEqual(rows.map(({ referrer }) => referrer), [null, ...rows.slice(0, -1).map(({ url }) => url)]);
      assert.deepEqual(await tab.readErrors(), []);
    });
  }

  test("changes of the query or fragment by replaceState, and links to a fragment, are no page", async () => {
    await tab.open(`${shop.url}/a`);
    await tab.run(`history.replaceState(null, "", "/a?q=1"); location.hash = "part";
      history.pushState({ open: true }, ""); history.pushState(null, "", "/a?page=2"); await mm.flush()`);

    assert.deepEqual((await rowsOf(tab, 2)).map(({ url }) => url.slice(shop.url.length)), ["/a", "/a?page=2"]);
  });

  test("a page that comes back from the cache counts again, as internal", async () => {
    await tab.open(`${shop.url}/first`);
    await tab.run("window.isSame = true; setTimeout(() => { location.href = '/second' }, 0)");
    await shows(tab, "/second");
    await tab.run("setTimeout(() => history.back(), 0)");
    await shows(tab, "/first");
    const isRestored = await tab.run<boolean>("return !!window.isSame");
    const rows = await rowsOf(tab, 3);

    assert.deepEqual(pathsOf(rows), ["/first", "/second", "/first"]);
    assert.ok(isRestored, "the browser has such a cache");
    assert.deepEqual(rows.map(({ source }) => source), ["direct", "internal", "internal"]);
  });

  for (const delayMs of [300, 2000]) {
    test(`events count once when the page goes to the cache ${delayMs} ms before their response`, async () => {
      gate.delayMs = delayMs;
      await tab.open(`${shop.url}/first`);
      await tab.run("mm.track('clicked'); mm.flush(); setTimeout(() => { location.href = '/second' }, 20)");
      await shows(tab, "/second");
      await tab.run("setTimeout(() => history.back(), 0)");
      await shows(tab, "/first");
      await new Promise((resolve) => setTimeout(resolve, 2 * delayMs));
      gate.delayMs = 0;
      await tab.run("dispatchEvent(new Event('online')); await mm.flush()");

      assert.deepEqual((await rowsOf(tab, 4)).map(({ event_name, path }) => [event_name, path]), [
        ["$pageview", "/first"],
        ["clicked", "/first"],
        ["$pageview", "/second"],
        ["$pageview", "/first"],
      ]);
    });
  }

  if (name === "Chromium") {
    test("a page that is rendered in advance counts when it is shown", async () => {
      const rules = JSON.stringify({ prerender: [{ urls: ["/next"], eagerness: "immediate" }] });
      const early = inline("onload = () => { mm.track('loaded'); mm.flush() }");
      shop.head = `${tag()}${early}<script type="speculationrules">${rules}</script>`;
      await tab.open(`${shop.url}/a`);
      const id = await tab.run<string>("return mm.getAnonymousId()");
      await until(async () => shop.requested.includes("/next"));
      assert.deepEqual(pathsOf(await rowsWith({ anonymous_id: id }, 3, 3)), ["/a", "/a"]);
      await tab.run("setTimeout(() => { location.href = '/next' }, 0)");
      await shows(tab, "/next");
      assert.ok(await tab.run("return performance.getEntriesByType('navigation')[0].activationStart > 0"));

      const shown = (await rowsOf(tab, 4)).filter(({ path }) => path === "/next");
      assert.deepEqual(namesOf(shown).sort(), ["$pageview", "loaded"]);
    });
  }

  test("two tabs are one visitor, and each event counts once", async () => {
    const other = await visitor.newTab();
    await Promise.all(name === "WebKit" ? [tab.open(`${shop.url}/one`)] : [tab.open(`${shop.url}/one`), other.open(`${shop.url}/two`)]);
    if (name === "WebKit") await other.open(`${shop.url}/two`); // WebDriver has one current tab
    for (const each of [tab, other]) await each.run("for (let i = 0; i < 5; i++) mm.track('tick', { i }); await mm.flush()");
    const rows = await rowsOf(tab, 12);

    assert.equal(rows.length, 12);
    assert.equal(new Set(rows.map(({ event_id }) => event_id)).size, 12);
    for (const path of ["/one", "/two"]) {
      const ticks = rows.filter((row) => row.path === path && row.event_name === "tick");
      assert.deepEqual(ticks.map(({ properties }) => JSON.parse(properties).i), range(0, 4));
    }
  });

  test("events of a page that is left at once are stored", async () => {
    await tab.open(`${shop.url}/a`);
    await tab.run("mm.track('clicked'); setTimeout(() => { location.href = '/b' }, 0)");
    await shows(tab, "/b");

    assert.deepEqual(namesOf(await rowsOf(tab, 3)), ["$pageview", "clicked", "$pageview"]);
  });

  for (const [who, close] of [
    ["the visitor", (other: Tab) => other.close()],
    // In the others no script closes a tab that none opened.
    ...(name === "Firefox" ? [["its script", (other: Tab) => other.run("setTimeout(() => close(), 0)").catch(() => {})] as const] : []),
  ] as const) {
    test(`events of tabs that ${who} closes at once are stored, also while a request is under way`, async () => {
      await tab.open(`${shop.url}/a`);
      for (const code of ["mm.track('closed')", "mm.flush(); mm.track('closed')"]) {
        const other = await visitor.newTab();
        await other.open(`${shop.url}/b`);
        await other.run(code);
        await close(other);
        assert.ok(await until(() => other.run("return false").catch(() => true), 1), "the tab is closed before its timer sends");
      }

      assert.deepEqual(namesOf(await rowsOf(tab, 5)).sort(), ["$pageview", "$pageview", "$pageview", "closed", "closed"]);
    });
  }

  test("an error of the page in the console would be seen", async () => {
    shop.head = inline("console.error('one'); setTimeout(() => { throw new Error('two') }); Promise.reject(new Error('three'))");
    await tab.open(`${shop.url}/a`);
    const found = await until(async () => (await tab.readErrors()).length >= 3 && (await tab.readErrors()).join(" "));

    for (const text of ["one", "two", "three"]) assert.ok(String(found).includes(text), `${text} in ${found}`);
  });

  test("events wait while the API is away, and arrive once and in order", async () => {
    await tab.open(`${shop.url}/a`);
    gate.isOpen = false;
    await tab.run("for (const name of ['one', 'two', 'three']) { mm.track(name); await mm.flush() }");
    gate.isOpen = true;
    gate.statuses = [503, 429];
    await tab.run("mm.track('four'); await mm.flush(); dispatchEvent(new Event('online'))");

    assert.deepEqual(namesOf(await rowsOf(tab, 5)), ["$pageview", "one", "two", "three", "four"]);
  });

  test("nothing is sent while the browser is offline, and everything when it is back", async () => {
    await tab.open(`${shop.url}/a`);
    await tab.run("await mm.flush()");
    await tab.setOffline(true);
    const before = gate.writes;
    await tab.run("mm.track('one'); mm.track('two'); await mm.flush(); dispatchEvent(new Event('pagehide'))");
    assert.equal(gate.writes, before);
    await tab.setOffline(false);

    assert.deepEqual(namesOf(await rowsOf(tab, 3)), ["$pageview", "one", "two"]);
    assert.deepEqual(await tab.readErrors(), []);
  });

  test("at most 500 events wait for an API that is away, the oldest ones", async () => {
    await tab.open(`${shop.url}/a`);
    gate.isOpen = false;
    await tab.run("for (let i = 0; i < 600; i++) mm.track('tick', { i }); await mm.flush()");
    gate.isOpen = true;
    await tab.run("dispatchEvent(new Event('online')); await mm.flush()");
    const waited = (await rowsOf(tab, 500)).slice(1).map(({ properties }) => JSON.parse(properties).i);

    assert.deepEqual(waited, range(0, waited.length - 1));
    assert.ok(waited.length < 500 + 20, "the queue, and a request under way");
  });

  test("one invalid event takes no other with it", async () => {
    await tab.open(`${shop.url}/a`);
    await tab.run("mm.track('before'); mm.track('x'.repeat(200)); mm.track('after'); await mm.flush()");

    assert.deepEqual(namesOf(await rowsOf(tab, 3)), ["$pageview", "before", "after"]);
  });

  test("events are stored with the API's time when the computer's clock is wrong", async () => {
    shop.head = inline("const now = Date.now; Date.now = () => now() + 365 * 86400e3") + tag();
    await tab.open(`${shop.url}/a`);
    await tab.run("mm.track('signup'); await mm.flush()");

    assert.deepEqual(namesOf(await rowsOf(tab, 2)).sort(), ["$pageview", "signup"]);
  });

  test("identify ties the visitor to the user, and later events carry the user", async () => {
    await tab.open(`${shop.url}/a`);
    await tab.run("mm.identify('user_42', { plan: 'pro' }); mm.track('bought'); mm.page('Basket'); await mm.flush()");
    const rows = await rowsOf(tab, 4);

    assert.deepEqual(namesOf(rows), ["$pageview", "$identify", "bought", "$pageview"]);
    assert.deepEqual(rows.map(({ user_id }) => user_id), [null, "user_42", "user_42", "user_42"]);
    assert.deepEqual(JSON.parse(rows[1].properties), { plan: "pro" });
    assert.equal(JSON.parse(rows[3].properties).name, "Basket");
  });

  test("identify without a usable id ties the visitor to no user, and later events are stored", async () => {
    await tab.open(`${shop.url}/a`);
    await tab.run("for (const id of [undefined, null, '', 'x'.repeat(257), Object.create(null)]) mm.identify(id); mm.track('later'); await mm.flush()");

    assert.deepEqual((await rowsOf(tab, 2)).map(({ event_name, user_id }) => [event_name, user_id]), [["$pageview", null], ["later", null]]);
    assert.deepEqual(await tab.readErrors(), []);
  });

  test("events before setAnonymousId keep the former id", async () => {
    await tab.open(`${shop.url}/a`);
    const former = await tab.run<string>("return mm.getAnonymousId()");
    const id = await tab.run<string>("const id = 'own_' + crypto.randomUUID(); mm.setAnonymousId(id); mm.track('later'); await mm.flush(); return id");

    assert.deepEqual(namesOf(await rowsWith({ anonymous_id: former }, 1)), ["$pageview"]);
    assert.deepEqual(namesOf(await rowsWith({ anonymous_id: id }, 1)), ["later"]);
    assert.equal(await tab.run("return localStorage.mm_aid"), id);
  });

  test("a visitor whose browser blocks its storage is one visitor on a page", async () => {
    shop.head = inline("Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })") + tag();
    await tab.open(`${shop.url}/a`);
    await tab.run("mm.track('signup'); await mm.flush()");

    assert.deepEqual(namesOf(await rowsOf(tab, 2)), ["$pageview", "signup"]);
    assert.deepEqual(await tab.readErrors(), []);
  });

  test("with data-cookieless the browser stores nothing, and the day's visitor is one", async () => {
    shop.head = tag("data-cookieless");
    for (const path of ["/a", "/b"]) {
      await tab.open(shop.url + path);
      await tab.run("mm.setAnonymousId('mine'); mm.identify('user_7'); await mm.flush()");
    }
    const rows = await rowsWith({ user_id: "user_7" }, 2);
    const [id, ...others] = new Set(rows.map(({ anonymous_id }) => anonymous_id));

    assert.match(id, /^d_/);
    assert.deepEqual([rows.length, others], [2, []]);
    assert.deepEqual(await tab.run("return [mm.getAnonymousId() ?? null, localStorage.length, document.cookie]"), [null, 0, ""]);
  });

  for (const [signal, code] of [
    ["Do Not Track", "Object.defineProperty(Navigator.prototype, 'doNotTrack', { get: () => '1' })"],
    ["Global Privacy Control", "Object.defineProperty(navigator, 'globalPrivacyControl', { get: () => true })"],
    ["an opt-out", "localStorage.mm_out = '1'"],
  ]) {
    test(`with ${signal} nothing is sent, and no id is made`, async () => {
      shop.head = inline(code) + tag();
      await tab.open(`${shop.url}/a`);
      await tab.run("mm.track('signup'); mm.identify('user_42'); mm.page(); await mm.flush()");

      assert.deepEqual(await tab.run("return [mm.getAnonymousId() ?? null, localStorage.mm_aid ?? null]"), [null, null]);
      assert.equal(gate.writes, 0);
    });
  }

  test("optOut removes the id and what is queued, and optIn starts again", async () => {
    await tab.open(`${shop.url}/a`);
    const former = await tab.run<string>("return mm.getAnonymousId()");
    const queued = `queued-${crypto.randomUUID()}`;
    await tab.run(`mm.track("${queued}"); mm.optOut(); mm.track("${queued}"); await mm.flush()`);
    assert.deepEqual(await tab.run("return Object.keys(localStorage)"), ["mm_out"]);
    await tab.run("mm.optIn(); mm.track('again'); await mm.flush()");
    const rows = await rowsOf(tab, 1);

    assert.deepEqual(namesOf(rows), ["again"]);
    assert.notEqual(rows[0].anonymous_id, former);
    assert.deepEqual(await api.rows({ event: queued }), []);
  });

  for (const [where, optOut] of [
    ["while a request is under way", "const sent = mm.flush(); mm.optOut(); await sent"],
    ["in another tab", "localStorage.mm_out = '1'"],
  ]) {
    test(`after an opt-out ${where} nothing that waited is sent`, async () => {
      await tab.open(`${shop.url}/a`);
      await tab.run("await mm.flush()");
      gate.statuses = [503];
      const before = gate.writes;
      await tab.run(`mm.track("waiting"); ${optOut}; await mm.flush(); dispatchEvent(new Event("pagehide"))`);
      await tab.run("mm.optIn(); await mm.flush()");

      assert.equal(gate.writes - before, where === "in another tab" ? 0 : 1);
    });
  }

  test("clicked links count with data-outbound only", async () => {
    const links = `<a id="away" href="${elsewhere.url}/a?secret=1#x">a</a><a id="file" href="/price.pdf?x=1">f</a><a id="own" href="/b">o</a>`;
    const click = `document.body.innerHTML = ${JSON.stringify(links)};
      for (const name of ["click", "auxclick"]) addEventListener(name, (event) => event.preventDefault());
      for (const id of ["away", "file", "own"]) document.getElementById(id).click();
      for (const button of [1, 2]) document.getElementById("away").dispatchEvent(new MouseEvent("auxclick", { button, bubbles: true, cancelable: true }));
      await mm.flush()`;
    await tab.open(`${shop.url}/a`);
    await tab.run(click);
    assert.deepEqual(namesOf(await rowsOf(tab, 1)), ["$pageview"]);
    shop.head = tag("data-outbound");
    await tab.open(`${shop.url}/b`);
    await tab.run(click);
    const rows = (await rowsOf(tab, 5)).slice(2);

    assert.deepEqual(rows.map(({ event_name, properties }) => [event_name, JSON.parse(properties).href]), [
      ["$outbound_click", `${elsewhere.url}/a`],
      ["$download", `${shop.url}/price.pdf`],
      ["$outbound_click", `${elsewhere.url}/a`], // by the middle button; the right one opens a menu
    ]);
  });

  test("a tag that stands twice sends each event once", async () => {
    shop.head = tag() + tag();
    await tab.open(`${shop.url}/a`);
    await tab.run("mm.init({ key: 'pk_live_other' }); mm.track('signup'); await mm.flush()");

    assert.deepEqual(namesOf(await rowsOf(tab, 2)), ["$pageview", "signup"]);
  });

  test("the tag that keys create prints works as it is", async () => {
    shop.head = api.createTag(shop.url);
    await tab.open(`${shop.url}/a`);

    assert.match(shop.head, /^<script async src="http/);
    assert.deepEqual(namesOf(await rowsOf(tab, 1)), ["$pageview"]);
  });

  test("data-host names the API of a script that the site serves itself", async () => {
    shop.scripts["/own.js"] = await (await fetch(`${gate.url}/v1/a.js`)).text();
    shop.head = `<script async src="/own.js" data-key="${key}" data-host="${gate.url}/"></script>`;
    await tab.open(`${shop.url}/a`);

    assert.deepEqual(namesOf(await rowsOf(tab, 1)), ["$pageview"]);
  });

  test("a script that stands in the page itself sends to the page's origin, without an error", async () => {
    shop.head = `<script data-key="${key}">${await (await fetch(`${gate.url}/v1/a.js`)).text()}</script>`;
    await tab.open(`${shop.url}/a`);
    await tab.run("await mm.flush()");

    assert.ok(shop.requested.includes("/v1/track"));
    assert.deepEqual(await tab.readErrors(), []);
  });

  test("a tag without a key waits for init, and sends as its options say", async () => {
    shop.head = `<script async src="${gate.url}/v1/a.js"></script>`;
    await tab.open(`${shop.url}/a`);
    const options = JSON.stringify({ key, host: gate.url, autoPageView: false, flushBatchSize: 3, flushIntervalMs: 600_000 });
    await tab.run(`mm.track("early"); mm.init(${options}); history.pushState(null, "", "/b"); mm.track("one")`);
    assert.equal(gate.writes, 0);
    await tab.run("mm.track('two')");

    assert.deepEqual((await rowsOf(tab, 3)).map(({ event_name, path }) => [event_name, path]), [
      ["early", "/a"],
      ["one", "/b"],
      ["two", "/b"],
    ]);
  });

  test("a page that is isolated from other origins can load the script", async () => {
    shop.headers = { "Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Opener-Policy": "same-origin" };
    await tab.open(`${shop.url}/a`);

    assert.deepEqual(namesOf(await rowsOf(tab, 1)), ["$pageview"]);
    assert.deepEqual(await tab.readErrors(), []);
  });

  const faults = "window.faults = []; for (const name of ['error', 'unhandledrejection']) addEventListener(name, () => window.faults.push(name))";
  const use = "for (let i = 0; i < 2000; i++) mm.track('tick', { text: 'x'.repeat(1000) }); await mm.flush(); return window.faults";

  for (const [failure, break_, mostWrites] of [
    ["is away", () => (gate.isOpen = false), 6],
    ["answers 500", () => (gate.statuses = Array(5000).fill(500)), 30],
    ["answers 503", () => (gate.statuses = Array(5000).fill(503)), 3],
    ["refuses the key", () => (gate.statuses = Array(5000).fill(401)), 2],
  ] as const) {
    test(`the page is undisturbed while the API ${failure}`, async () => {
      shop.head = inline(faults) + tag();
      await tab.open(`${shop.url}/a`);
      break_();

      assert.deepEqual(await tab.run(use), []);
      assert.ok(gate.writes <= mostWrites, `${gate.writes} requests`);
      assert.deepEqual((await tab.readErrors()).filter((text) => !/Failed to load resource|Cross-Origin Request Blocked/.test(text)), []);
    });
  }

  test("the page is undisturbed when its policy forbids the API", async () => {
    shop.head = inline(faults) + tag();
    shop.headers = { "Content-Security-Policy": "connect-src 'self'" };
    await tab.open(`${shop.url}/a`);
    assert.deepEqual(await tab.run(use), []);
    shop.headers = { "Content-Security-Policy": "script-src 'unsafe-inline'" };
    await tab.open(`${shop.url}/a`);

    assert.deepEqual(await tab.run("return [typeof window.mm, ...window.faults]"), ["undefined"]);
    assert.equal(gate.writes, 0);
    assert.deepEqual((await tab.readErrors()).filter((text) => !/Content.Security.Policy|Failed to load resource/.test(text)), []);
  });

  test("no event of all these pages is stored twice", async () => {
    const ids = (await api.rows()).map(({ event_id }) => event_id);
  
    assert.equal(new Set(ids).size, ids.length);
  });
}
