// Real browsers behind one interface: Chromium and Firefox through puppeteer, WebKit through WebDriver.

import { type ChildProcess, spawn } from "node:child_process";
import { globSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer, { type Browser as Puppeteer, type BrowserContext, type Page } from "puppeteer-core";

/** A tab. */
export interface Tab {
  open(url: string): Promise<void>;
  /** Run a function's body in the page, and return its JSON result. */
  run<T>(body: string): Promise<T>;
  /** As `run`, in the page's only frame. */
  runInFrame<T>(body: string): Promise<T>;
  /** Set the width of the window's content, in CSS pixels of so many device pixels; WebKit's are always of one. */
  setWidth(width: number, deviceScaleFactor?: number): Promise<void>;
  /** Take the page off the network; WebKit only gets the event. */
  setOffline(isOffline: boolean): Promise<void>;
  close(): Promise<void>;
  /** Return the errors of the console; WebKit's without the browser's own, of refused requests and the like. */
  readErrors(): Promise<string[]>;
}

/** Code that keeps what a page's scripts write to the console as errors, for browsers whose console is not readable. */
export const RECORD_ERRORS = `if (!window.isRecording) {
  window.isRecording = true;
  const note = (text) => { sessionStorage.errors = JSON.stringify([...JSON.parse(sessionStorage.errors ?? "[]"), String(text)]); };
  const write = console.error;
  console.error = (...texts) => { note(texts.join(" ")); write.apply(console, texts); };
  addEventListener("error", ({ message }) => message && note(message));
  addEventListener("unhandledrejection", ({ reason }) => note(reason));
}`;

/** A visitor: tabs that share their storage, and nothing with other visitors. */
export interface Visitor {
  newTab(): Promise<Tab>;
  leave(): Promise<void>;
}

export interface Browser {
  name: string;
  newVisitor(): Promise<Visitor>;
  close(): Promise<void>;
}

class PuppeteerTab implements Tab {
  private readonly errors: string[] = [];
  private readonly page: Page;

  constructor(page: Page) {
    this.page = page;
    page.on("console", (message) => message.type() === "error" && this.errors.push(message.text()));
    page.on("pageerror", (error) => this.errors.push(String(error)));
  }

  async open(url: string): Promise<void> {
    await this.page.goto(url, { waitUntil: "load" });
  }

  async run<T>(body: string): Promise<T> {
    return (await this.page.evaluate(`(async () => { ${body} })()`)) as T;
  }

  async setWidth(width: number, deviceScaleFactor = 1): Promise<void> {
    await this.page.setViewport({ width, height: 900, deviceScaleFactor });
  }

  async runInFrame<T>(body: string): Promise<T> {
    const frame = this.page.frames().find((one) => one !== this.page.mainFrame())!;
    return (await frame.evaluate(`(async () => { ${body} })()`)) as T;
  }

  async setOffline(isOffline: boolean): Promise<void> {
    await this.page.setOfflineMode(isOffline);
  }

  async readErrors(): Promise<string[]> {
    return this.errors;
  }

  async close(): Promise<void> {
    await this.page.close();
  }
}

async function launchPuppeteer(name: "chrome" | "firefox"): Promise<Browser> {
  const isChrome = name === "chrome";
  const browser: Puppeteer = await puppeteer.launch({
    browser: name,
    executablePath: isChrome ? process.env.CHROMIUM : process.env.FIREFOX,
    args: isChrome ? ["--no-sandbox"] : [],
    ignoreDefaultArgs: isChrome ? ["--disable-back-forward-cache"] : [],
  });
  return {
    name: isChrome ? "Chromium" : "Firefox",
    async newVisitor() {
      const context: BrowserContext = await browser.createBrowserContext();
      return {
        newTab: async () => new PuppeteerTab(await context.newPage()),
        leave: () => context.close(),
      };
    },
    close: () => browser.close(),
  };
}

/** WebDriver's commands, as HTTP requests. */
class WebDriver {
  private readonly base: string;

  constructor(base: string) {
    this.base = base;
  }

  async send<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await fetch(this.base + path, { method, body: body && JSON.stringify(body) });
    const { value } = (await response.json()) as { value: T & { message?: string } };
    if (!response.ok) throw new Error(`${method} ${path}: ${value.message}`);
    return value;
  }
}

class WebKitTab implements Tab {
  private readonly session: WebDriver;
  private readonly handle: string;

  constructor(session: WebDriver, handle: string) {
    this.session = session;
    this.handle = handle;
  }

  private async select(): Promise<void> {
    await this.session.send("POST", "/window", { handle: this.handle });
  }

  async open(url: string): Promise<void> {
    await this.select();
    await this.session.send("POST", "/url", { url });
    if (url.startsWith("http")) await this.run(RECORD_ERRORS);
  }

  readErrors(): Promise<string[]> {
    return this.run<string[]>(`return JSON.parse(sessionStorage.errors ?? "[]")`);
  }

  async run<T>(body: string): Promise<T> {
    await this.select();
    const script = `const done = arguments[0]; (async () => { ${body} })().then(done, (error) => done(String(error)))`;
    return this.session.send("POST", "/execute/async", { script, args: [] });
  }

  async setWidth(width: number): Promise<void> {
    await this.select();
    await this.session.send("POST", "/window/rect", { width, height: 900 });
    if (!(await until(() => this.run<boolean>(`return innerWidth <= ${width}`), 2))) throw new Error(`The window does not become ${width} pixels wide.`);
  }

  async runInFrame<T>(): Promise<T> {
    throw new Error("WebKit's frames are not read here.");
  }

  async setOffline(isOffline: boolean): Promise<void> {
    await this.run(`Object.defineProperty(navigator, "onLine", { value: ${!isOffline}, configurable: true });
      dispatchEvent(new Event("${isOffline ? "offline" : "online"}"))`);
  }

  async close(): Promise<void> {
    await this.select();
    const [handle] = await this.session.send<string[]>("DELETE", "/window");
    if (handle) await this.session.send("POST", "/window", { handle });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function launchWebKit(): Promise<Browser> {
  const port = await freePort();
  const [binary] = globSync("/usr/lib/*/webkit2gtk-4.1/MiniBrowser");
  // Its tool bar makes a window wider than a phone.
  const configuration = mkdtempSync(join(tmpdir(), "millimetric-gtk-"));
  mkdirSync(join(configuration, "gtk-3.0"));
  writeFileSync(join(configuration, "gtk-3.0", "gtk.css"), "* { min-width: 0; padding: 0; margin: 0; font-size: 1px; }");
  const env = { ...process.env, XDG_CONFIG_HOME: configuration, WEBKIT_DISABLE_DMABUF_RENDERER: "1", LIBGL_ALWAYS_SOFTWARE: "1" };
  const driver: ChildProcess = spawn("WebKitWebDriver", [`--port=${port}`], { env, stdio: "ignore" });
  process.on("exit", () => driver.kill());
  const root = new WebDriver(`http://127.0.0.1:${port}`);
  await until(() => root.send("GET", "/status").then(() => true, () => false));
  const options = { binary, args: ["--automation"] };
  const capabilities = { alwaysMatch: { browserName: "MiniBrowser", "webkitgtk:browserOptions": options } };
  return {
    name: "WebKit",
    async newVisitor() {
      const { sessionId } = await root.send<{ sessionId: string }>("POST", "/session", { capabilities });
      const session = new WebDriver(`http://127.0.0.1:${port}/session/${sessionId}`);
      let first: string | undefined = await session.send<string>("GET", "/window");
      return {
        async newTab() {
          const handle = first ?? (await session.send<{ handle: string }>("POST", "/window/new", { type: "tab" })).handle;
          first = undefined;
          return new WebKitTab(session, handle);
        },
        leave: () => root.send("DELETE", `/session/${sessionId}`),
      };
    },
    async close() {
      driver.kill();
      rmSync(configuration, { recursive: true });
    },
  };
}

export const LAUNCH = {
  Chromium: () => launchPuppeteer("chrome"),
  Firefox: () => launchPuppeteer("firefox"),
  WebKit: launchWebKit,
};

/** Wait until `check` returns something true, and return it. */
export async function until<T>(check: () => Promise<T>, seconds = 15): Promise<T> {
  for (const end = Date.now() + seconds * 1000; ; ) {
    const value = await check();
    if (value || Date.now() > end) return value;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
