// What the page that the API serves does in a real browser, against a running API.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { LAUNCH, until, type Browser, type Tab, type Visitor } from "./drivers.ts";
import { Api } from "./world.ts";

const MARKUP = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>';
const RTL = "\u202eevil\u202c שלום";
const LONG = `long-${"x".repeat(1990)}`;
const BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const BOT = "Googlebot/2.1 (+http://www.google.com/bot.html)";
const WIDTHS = [1280, 768, 400];
/** Widths of windows in pixels; a zoomed window has so many times fewer of larger ones; or only its text is larger. */
const SIZES: { width: number; zoom?: number; text?: number }[] = [...WIDTHS.map((width) => ({ width })), { width: 1280, zoom: 2 }, { width: 768, zoom: 2 }, { width: 1280, text: 2 }, { width: 400, text: 2 }];

const ago = (hours: number) => new Date(Date.now() - hours * 3_600_000).toISOString();

/** 12 visitors with 2 views each, of whom 4 buy for 10. */
function shopEvents(): object[] {
  const visitors = Array.from({ length: 12 }, (_, n) => n);
  return visitors.flatMap((n) => {
    const url = `https://shop.example/?utm_source=${n % 3 ? "google" : "facebook"}&utm_medium=${n % 2 ? "cpc" : "organic"}`;
    const common = { anonymous_id: `v${n}`, timestamp: ago(30 * n + 1) };
    const views = [{ ...common, event: "$pageview", url, path: "/" }, { ...common, event: "$pageview", path: "/prices" }];
    return n % 3 === 0 ? [...views, { ...common, event: "purchase", properties: { amount: 10 } }] : views;
  });
}

/** Names that no page should trust, in every place where a visitor can put one. */
function hostileEvents(): object[] {
  return [MARKUP, RTL, LONG].map((name) => ({
    event: name.slice(0, 128), anonymous_id: name.slice(0, 100), timestamp: ago(0.1), path: name,
    url: `https://shop.example/?utm_source=${encodeURIComponent(name.slice(0, 300))}&utm_medium=${encodeURIComponent(name.slice(0, 300))}&utm_campaign=${encodeURIComponent(name.slice(0, 300))}`,
    properties: { [name.slice(0, 100)]: 7, [`text ${name.slice(0, 50)}`]: name },
  }));
}

/** The API with its projects, and a tab of one browser. */
export class PageWorld {
  readonly api = new Api();
  browser!: Browser;
  visitor!: Visitor;
  tab!: Tab;
  readKey!: string;

  async start(name: keyof typeof LAUNCH): Promise<void> {
    await this.api.start();
    this.readKey = this.api.createKeyOf("shop", "rk");
    await this.send("shop", [...shopEvents(), { event: "$pageview", anonymous_id: "v0", timestamp: ago(1), path: MARKUP }]);
    await this.send("shop", [{ event: "$pageview", anonymous_id: "bot", timestamp: ago(1) }], BOT);
    await this.send("hostile", hostileEvents());
    await this.send("one", [{ event: "$pageview", anonymous_id: "v1", timestamp: ago(0.1), path: "/only" }]);
    this.browser = await LAUNCH[name]();
    this.visitor = await this.browser.newVisitor();
    this.tab = await this.visitor.newTab();
  }

  async stop(): Promise<void> {
    await this.visitor?.leave();
    await this.browser?.close();
    await this.api.stop();
  }

  async send(project: string, events: object[], agent = BROWSER): Promise<void> {
    const key = this.api.createKeyOf(project, "sk");
    const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json", "User-Agent": agent };
    const response = await fetch(`${this.api.url}/v1/batch`, { method: "POST", headers, body: JSON.stringify({ events }) });
    assert.equal(response.status, 202, await response.text());
  }

  textOf(selector: string): Promise<string> {
    return this.tab.run(`return document.querySelector(${JSON.stringify(selector)})?.innerText ?? ""`);
  }

  /** Open the page, and wait until its script asks for a key. */
  async open(search = ""): Promise<void> {
    await this.tab.open(`${this.api.url}/${search}`);
    assert.ok(await until(() => this.tab.run<boolean>("return document.getElementById('sign-in')?.hidden === false").catch(() => false)));
  }

  async signIn(key = this.readKey, search = ""): Promise<void> {
    await this.open(search);
    await this.type(key);
    await this.filled();
  }

  type(key: string): Promise<void> {
    return this.tab.run(`document.getElementById("key").value = ${JSON.stringify(key)}; document.querySelector("#sign-in button").click()`);
  }

  /** Wait until no panel is waiting for an answer. */
  async filled(): Promise<void> {
    const check = `return document.querySelectorAll("#panels section").length > 0 && !document.querySelector("[aria-busy]")`;
    assert.ok(await until(() => this.tab.run<boolean>(check).catch(() => false), 30), "the panels are filled");
  }

  panel(title: string): Promise<string> {
    return this.tab.run(`return [...document.querySelectorAll("section:not([hidden])")].find((one) => one.querySelector("h2").textContent.startsWith(${JSON.stringify(title)})).innerText`);
  }

  /** Show answers with counts of nine digits and sums of ten; a count of 1 stays, so that others have grown a lot. */
  async enlargeAnswers(): Promise<void> {
    await this.tab.run(`const ask = window.fetch;
      const grow = (value, digits) => (value === 1 ? 1 : Number((value * 10288065.75).toFixed(digits)));
      window.fetch = async (address, ...rest) => {
        const response = await ask(address, ...rest);
        const digits = address.includes("metric=sum") ? 2 : 0;
        const body = JSON.parse(await response.text(), (key, value) =>
          ["value", "events", "uniques", "people", "bots_left_out"].includes(key) ? grow(value, digits)
            : key === "returned" ? value.map((one) => grow(one, 0)) : value);
        return new Response(JSON.stringify(body), { status: response.status });
      };`);
  }

  /** Fail if anything reaches beyond the window or out of its box: at each width, zoomed, and in both themes. */
  async checkOverflow(): Promise<void> {
    for (const { width, zoom = 1, text = 1 } of SIZES) {
      await this.tab.run(`document.documentElement.style.fontSize = "${text * 100}%"`);
      await this.tab.setWidth(width / zoom, zoom);
      for (const theme of ["light", "dark"]) {
        const found = await this.tab.run<unknown[]>(`document.documentElement.style.colorScheme = "${theme}";
          document.querySelectorAll("details").forEach((one) => { one.open = true; });
          await new Promise((resolve) => setTimeout(resolve, 50));
          const all = [...document.querySelectorAll("#view *, header *")].filter((one) => !one.closest("[hidden], option, pre"));
          const out = all.filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".scroll"));
          const cut = all.filter((one) => one.matches("dt, dd, th, td, p, h2, label, button, summary") && one.scrollWidth > one.clientWidth + 1 && one.clientWidth);
          const texts = [...document.querySelectorAll(".chart text")].map((one) => [one, one.getBoundingClientRect(), one.closest("svg").getBoundingClientRect()]);
          const charts = texts.filter(([one, box, chart], index) => box.left < chart.left - 1 || box.right > chart.right + 1 || box.top < chart.top - 1 || box.bottom > chart.bottom + 1
            || texts.slice(0, index).some(([, other]) => box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom)).map(([one]) => one);
          return [document.documentElement.scrollWidth <= innerWidth, [...out, ...cut, ...charts].map((one) => one.outerHTML.slice(0, 200))]`);
        assert.deepEqual(found, [true, []], `${width} pixels, zoomed ${zoom} times, text ${text} times, ${theme}`);
      }
    }
    await this.tab.run("document.documentElement.style.fontSize = ''");
    await this.tab.setWidth(WIDTHS[0]);
  }
}

/** Declare the tests of one browser. */
export function testPageIn(name: keyof typeof LAUNCH): PageWorld {
  const world = new PageWorld();
  const { api } = world;

  before(() => world.start(name));
  after(() => world.stop());

  for (const kind of ["pk", "sk"]) {
    test(`the page refuses a ${kind}_ key with a sentence, and sends it nowhere`, async () => {
      await world.open();
      await world.type(`${kind}_live_abcdefgh_secret`);
      assert.ok(await until(async () => (await world.textOf("#key-error")).includes("Paste a read key")));
      const asked = await world.tab.run<string[]>(`return performance.getEntriesByType("resource").map(({ name }) => name)`);
      assert.deepEqual(asked.filter((address) => address.includes("/v1/")), []);
    });
  }

  test("the page refuses a key that the API does not know", async () => {
    await world.open();
    await world.type(`rk_live_abcdefgh_${"x".repeat(40)}`);
    assert.ok(await until(async () => (await world.textOf("#key-error")).includes("does not know this key")));
  });

  test("the page shows the numbers of the events", async () => {
    await world.signIn();
    const range = await world.panel("The last 30 days, against the 30 days before");
    assert.match(range, /Visitors\s+12\b/);
    assert.match(range, /Page views\s+25\b/);
    assert.match(range, /Sum of amount of purchase\s+40\b/);
    assert.match(range, /^1 event of automated clients is left out/m);
    assert.match(await world.panel("Sources"), /Facebook: \d+\s?% paid/);
    // Of the four buyers, who all came by Facebook, two came by a paid link.
    assert.match(await world.panel("Revenue by channel"), /by the last source of the person[^]+paid_social\s+20\b/);
    assert.match(await world.panel("Pages"), /<img src=x onerror=/);
    assert.equal(await world.tab.run("return window.hit ?? null"), null);
    assert.deepEqual((await world.tab.readErrors()).filter((text) => !text.includes("401")), []);
  });

  test("the address names the range and the time zone before anything is chosen", async () => {
    const [search, zone] = await world.tab.run<string[]>("return [location.search, Intl.DateTimeFormat().resolvedOptions().timeZone]");
    assert.deepEqual([...new URLSearchParams(search)], [["range", "30d"], ["zone", zone]]);
  });

  test("cheap questions about the summary are asked first, and the schema, the funnel and retention last", async () => {
    const asked = await world.tab.run<string[]>(
      `return performance.getEntriesByType("resource").map(({ name }) => name.split("/v1/")[1]).filter(Boolean)`,
    );
    const signedIn = asked.slice(1); // the sign-in asks for one event
    const summary = signedIn.slice(0, 8).map((question) => question.replace(/(from|to)=[^&]*&/g, ""));
    const [visitors, views] = ["stats?bots=exclude&metric=uniques", "stats?bots=exclude&metric=count&event=%24pageview"];
    assert.deepEqual(summary.sort(), [...Array(4).fill(views), ...Array(4).fill(visitors)]);
    const schema = signedIn.findIndex((question) => question.startsWith("schema"));
    assert.ok(schema >= 18, "every panel that needs no name has asked");
    const later = signedIn.slice(schema + 1).filter((question) => !question.startsWith("query"));
    assert.ok(later.slice(0, -3).every((question) => /event=purchase/.test(question)), later.join("\n"));
    assert.deepEqual(later.slice(-3).map((question) => question.split("?")[0]).sort(), ["funnel", "retention", "stats"]);
  });

  test("a click on a row filters, and the chip takes the filter back", async () => {
    await world.tab.run(`[...document.querySelectorAll("button.pick")].find((one) => one.textContent === "facebook").click()`);
    await world.filled();
    assert.match(await world.textOf("#filters"), /source: ?\s*facebook/);
    assert.match(await world.tab.run<string>("return location.search"), /source=facebook/);
    assert.match(await world.panel("The last 30 days"), /Page views\s+4\b/);
    await world.tab.run(`document.querySelector("#filters button").click()`);
    await world.filled();
    assert.equal(await world.textOf("#filters"), "");
    assert.match(await world.panel("The last 30 days"), /Page views\s+25\b/);
  });

  test("the arrow keys read the values of the chart", async () => {
    const press = (key: string) =>
      world.tab.run<string>(`const chart = document.querySelector(".chart"); chart.focus();
        chart.dispatchEvent(new KeyboardEvent("keydown", { key: "${key}" })); return chart.getAttribute("aria-valuetext")`);
    const rows = await world.tab.run<string[][]>(
      `return [...document.querySelectorAll(".chart + details tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent))`,
    );
    const plural = (count: string) => (count === "1" ? "" : "s");
    const say = ([label, visitors, views]: string[]) => `${label}: ${visitors} visitor${plural(visitors)}, ${views} page view${plural(views)}`;
    assert.equal(rows.length, 30);
    assert.equal(await press("End"), say(rows[29]));
    assert.equal(await press("ArrowLeft"), say(rows[28]));
    assert.equal(await press("Home"), say(rows[0]));
  });

  test("the link to the numbers asks nothing again", async () => {
    const asked = () => world.tab.run<number>(`return performance.getEntriesByType("resource").filter(({ name }) => /v1\\/(?!query)/.test(name)).length`);
    const before = await asked();
    await world.tab.run(`document.querySelector(".skip").click(); await new Promise((resolve) => setTimeout(resolve, 300))`);

    assert.equal(await world.tab.run("return location.hash"), "#main");
    assert.equal(await asked(), before);
  });

  test("a key that is typed stands in no address and no storage, and a reload forgets it", async () => {
    const found = await world.tab.run<string>("return location.href + JSON.stringify(sessionStorage) + JSON.stringify(localStorage) + document.cookie");
    assert.ok(!found.includes(world.readKey));
    const asked = await world.tab.run<string>(`return JSON.stringify(performance.getEntriesByType("resource").map(({ name }) => name))`);
    assert.ok(!asked.includes(world.readKey));
    await world.open();
    assert.equal(await world.tab.run("return document.getElementById('view').hidden"), true);
  });

  test("a key that is kept survives a reload, and signing out removes it", async () => {
    await world.tab.run("document.getElementById('keep').checked = true");
    await world.type(world.readKey);
    await world.filled();
    await world.tab.open(`${api.url}/?range=7d`);
    await world.filled();
    await world.tab.run("document.getElementById('sign-out').click()");
    assert.deepEqual(await world.tab.run("return [sessionStorage.length, document.getElementById('view').hidden]"), [0, true]);
    assert.equal(await world.tab.run("return document.getElementById('panels').childElementCount"), 0);
  });

  test("a one-time link signs in once, and leaves no code in the address", async () => {
    const link = api.createLink(world.readKey);
    await world.tab.open("about:blank");
    await world.tab.open(link);
    await world.filled();
    assert.deepEqual(await world.tab.run("return [location.hash, sessionStorage.length]"), ["", 0]);
    await world.tab.open("about:blank");
    await world.tab.open(link);
    assert.ok(await until(async () => (await world.textOf("#key-error")).includes("This link was used")));
    assert.equal(await world.tab.run("return location.hash"), "");
  });

  test("a project with one event is shown", async () => {
    await world.signIn(api.createKeyOf("one", "rk"), "?range=today");
    const range = await world.panel("Today, against yesterday");
    assert.match(range, /Visitors\s+1\b/);
    assert.match(range, /before: 0/);
    assert.match(await world.panel("Pages"), /\/only\s+1\b/);
    assert.match(await world.panel("Live"), /\/only/);
    assert.ok(!range.includes("$pageview"), "page views are shown once");
    assert.equal(await world.tab.run("return document.getElementById('goal')"), null);
    assert.match(await world.textOf("#message"), /no events of your own yet[^]+window\.mm\?\.track\("signup"/);
    await world.checkOverflow();
  });

  test("numbers of nine digits reach out of no box", async () => {
    await world.open();
    await world.enlargeAnswers();
    await world.type(world.readKey);
    await world.filled();
    assert.match(await world.panel("The last 30 days"), /Visitors\s+123,?456,?789\b[^]+Sum of amount of purchase\s+411,?522,?630\b/);
    await world.checkOverflow();
  });

  test("a project without events gets the tag to paste", async () => {
    await world.signIn(api.createKeyOf("empty", "rk"));
    assert.match(await world.textOf("#message"), /<script async src="http:.+\/v1\/a\.js" data-key="pk_live_\.\.\."><\/script>/);
    assert.match(await world.panel("Sources"), /Nothing in this range/);
    await world.checkOverflow();
  });

  test("hostile names run nothing and reach nowhere, at three widths and in both themes", async () => {
    await world.signIn(api.createKeyOf("hostile", "rk"));
    await world.checkOverflow();
    assert.match(await world.panel("Sources"), /<img src=x onerror=/);
    assert.match(await world.panel("Live"), /\ufffdevil\ufffd שלום/);
    await world.tab.run(`[...document.querySelectorAll("button.pick")].find((one) => one.textContent.startsWith("<img")).click()`);
    await world.filled();
    assert.match(await world.textOf("#filters"), /<img src=x/);
    await world.checkOverflow();
    assert.equal(await world.tab.run("return window.hit ?? null"), null);
    assert.equal(await world.tab.run("return document.querySelectorAll('#view img, #view script').length"), 0);
  });

  test("a key that is revoked leads back to the sign-in with a sentence", async () => {
    const key = api.createKeyOf("one", "rk");
    await world.signIn(key);
    api.revoke(key);
    const isOut = async () => {
      await world.tab.run(`const range = document.getElementById("range"); if (range) { range.value = range.value === "7d" ? "30d" : "7d"; range.dispatchEvent(new Event("change")); }`);
      return (await world.textOf("#key-error")).includes("no longer knows this key");
    };
    assert.ok(await until(isOut, 30), "the page says that the key is revoked");
    assert.equal(await world.tab.run("return document.getElementById('panels').childElementCount"), 0);
  });

  return world;
}
