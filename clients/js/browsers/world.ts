// What the browsers meet: a running API, a gate in front of it that can fail, and two web sites.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { buildSync } from "esbuild";
import { RECORD_ERRORS } from "./drivers.ts";

export interface Row {
  event_name: string;
  event_id: string;
  anonymous_id: string;
  user_id: string | null;
  source: string;
  medium: string;
  url: string;
  path: string;
  referrer: string | null;
  properties: string;
}

const COMMAND = process.env.MILLIMETRIC_COMMAND ?? "millimetric-mcp";

/** The real API in its own process. */
export class Api {
  private readonly directory = mkdtempSync(join(tmpdir(), "millimetric-browsers-"));
  private process?: ChildProcess;
  private readKey!: string;
  url!: string;

  async start(): Promise<void> {
    const args = ["api", "--port", "0", "--data-dir", this.directory];
    this.process = spawn(COMMAND, args, { stdio: ["ignore", "ignore", "pipe"] });
    process.on("exit", () => this.process?.kill()); // Node runs "after" first if it skips every test
    for await (const line of createInterface(this.process.stderr!)) {
      const found = /http:\/\/127[0-9.:]+/.exec(line);
      if (found) {
        this.url = found[0];
        break;
      }
    }
    this.process.stderr!.resume();
    this.readKey = this.createKey("rk");
  }

  createKey(kind: string, ...origins: string[]): string {
    return this.createKeyOf("default", kind, ...origins);
  }

  /** Create a key of a project, and the project if there is none. */
  createKeyOf(project: string, kind: string, ...origins: string[]): string {
    const options = origins.flatMap((origin) => ["--origin", origin]);
    const args = ["keys", "create", "--json", "--yes", "--kind", kind, "--project", project, "--data-dir", this.directory];
    return JSON.parse(execFileSync(COMMAND, [...args, ...options], { encoding: "utf8" })).key;
  }

  revoke(key: string): void {
    execFileSync(COMMAND, ["keys", "revoke", key.split("_")[2], "--data-dir", this.directory]);
  }

  /** Return a one-time link to the page. */
  createLink(readKey: string): string {
    const env = { ...process.env, MILLIMETRIC_HOST: this.url, MILLIMETRIC_RK: readKey };
    return execFileSync(COMMAND, ["open", "--print"], { encoding: "utf8", env, stdio: ["ignore", "pipe", "ignore"] }).trim();
  }

  /** Return the script tag that creating a browser key prints. */
  createTag(origin: string): string {
    const args = ["keys", "create", "--kind", "pk", "--origin", origin, "--project", "default", "--data-dir", this.directory];
    const lines = execFileSync(COMMAND, args, { encoding: "utf8" }).trimEnd().split("\n");
    return lines.at(-1)!;
  }

  /** Return the stored events, oldest first. */
  async rows(filter: Record<string, string> = {}): Promise<Row[]> {
    const day = 86_400_000;
    const [from, to] = [Date.now() - 30 * day, Date.now() + day].map((ms) => new Date(ms).toISOString());
    const query = new URLSearchParams({ from, to, limit: "1000", ...filter });
    const headers = { Authorization: `Bearer ${this.readKey}` };
    const response = await fetch(`${this.url}/v1/query?${query}`, { headers });
    return ((await response.json()) as { rows: Row[] }).rows.reverse();
  }

  async stop(): Promise<void> {
    if (!this.process) return;
    this.process.kill();
    await new Promise((resolve) => this.process!.once("exit", resolve));
    rmSync(this.directory, { recursive: true });
  }
}

async function listen(server: Server, host: string): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return `http://${host}:${(server.address() as AddressInfo).port}`;
}

/** Passes requests on to the API, or fails as the test sets it. */
export class Gate {
  private readonly server: Server;
  url!: string;
  isOpen = true;
  /** Statuses of the next writes; the API answers further ones. */
  statuses: number[] = [];
  /** How long the API's responses to writes are held back. */
  delayMs = 0;
  /** Writes that came in, whatever became of them. */
  writes = 0;

  /** The API's paths begin with `prefix` here. */
  constructor(api: Api, prefix = "") {
    this.server = createServer((incoming, outgoing) => {
      const isWrite = incoming.method === "POST";
      if (isWrite) this.writes++;
      if (!this.isOpen) {
        incoming.socket.destroy();
        return;
      }
      const status = isWrite ? this.statuses.shift() : undefined;
      if (status) {
        incoming.resume();
        const headers = { "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After" };
        outgoing.writeHead(status, { ...headers, "Retry-After": "1" }).end('{"error":"x"}');
        return;
      }
      const { method, headers, url } = incoming;
      const passed = request(api.url + url!.slice(prefix.length), { method, headers }, (response) => {
        setTimeout(() => {
          outgoing.writeHead(response.statusCode!, response.headers);
          response.pipe(outgoing);
        }, isWrite ? this.delayMs : 0);
      });
      passed.on("error", () => outgoing.destroy());
      incoming.pipe(passed);
    });
  }

  async start(): Promise<void> {
    this.url = await listen(this.server, "127.0.0.1");
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** A web site: every path is a page that holds `head`, or is `page`. */
export class Site {
  private readonly server: Server;
  readonly scripts: Record<string, string>;
  private readonly host: string;
  url!: string;
  head = "";
  page = "";
  headers: Record<string, string> = {};
  /** The paths of the pages that were asked for. */
  requested: string[] = [];

  constructor(host: string, scripts: Record<string, string> = {}) {
    this.host = host;
    this.scripts = scripts;
    this.server = createServer((incoming, outgoing) => this.answer(incoming, outgoing));
  }

  private answer(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const { pathname } = new URL(incoming.url!, this.url);
    const script = this.scripts[pathname];
    if (script) {
      outgoing.writeHead(200, { "Content-Type": "text/javascript" }).end(script);
      return;
    }
    this.requested.push(pathname);
    outgoing.writeHead(200, { "Content-Type": "text/html; charset=utf-8", ...this.headers });
    outgoing.end(this.page || `<!doctype html><html lang="en"><title>${pathname}</title><script>${RECORD_ERRORS}</script>${this.head}<body><div id="root"></div>`);
  }

  async start(): Promise<void> {
    this.url = await listen(this.server, this.host);
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** Build an application of `apps/` into one script. */
export function buildApp(name: string): string {
  const { outputFiles } = buildSync({
    entryPoints: [join(import.meta.dirname, "apps", name)],
    bundle: true,
    define: { "process.env.NODE_ENV": '"production"', __VUE_OPTIONS_API__: "false", __VUE_PROD_DEVTOOLS__: "false" },
    jsx: "automatic",
    minify: true,
    write: false,
  });
  return outputFiles[0].text;
}
