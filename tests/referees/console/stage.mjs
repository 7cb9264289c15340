// A runtime with the embedded node, in a folder of its own, and what the tests do with it.

import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const here = dirname(fileURLToPath(import.meta.url));
export const binary = process.env.AGENTRY ?? join(here, "../../../target/debug/agentry");

const BASE = `[chain]
id = "ait-devnet"
[store]
path = "agentry.db"
[http]
listen = "127.0.0.1:0"
KEYS
[devnet]
block_time = "200ms"
port = 0
dir = "node"
[wallets]
keystore_dir = "keys"
password_file = "keys/.password"
[defaults]
per_sender_rate = "unlimited"
attempts = 1
`;

// Waits until something holds, for at most a minute or as long as is said.
export async function until(what, holds, patience = 60000) {
  const end = Date.now() + patience;
  let last;
  for (;;) {
    try {
      const found = await holds();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`${what} did not come about${last ? `: ${last.message}` : ""}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

export class Stage {
  static async start(agents, { keys = "" } = {}) {
    const stage = new Stage();
    stage.folder = await mkdtemp(join(tmpdir(), "agentry-console-"));
    await mkdir(join(stage.folder, "keys"), { mode: 0o700 });
    await writeFile(join(stage.folder, "keys/.password"), "a long password", { mode: 0o600 });
    await writeFile(join(stage.folder, "agents.toml"), BASE.replace("KEYS", keys) + agents, { mode: 0o600 });
    return stage;
  }

  // Runs the agents, and waits until they act.
  async run() {
    await this.resume();
    const made = await this.json("token", "create", "test", "--allow", "read,send,operate");
    this.secret = made.secret;
  }

  // The same, once there is a token.
  async resume() {
    this.child = spawn(binary, ["run", "--json"], { cwd: this.folder, stdio: ["ignore", "pipe", "pipe"] });
    this.log = "";
    this.child.stderr.on("data", (text) => {
      this.log = (this.log + text).slice(-20000);
    });
    const lines = createInterface({ input: this.child.stdout });
    const first = await Promise.race([
      new Promise((done) => lines.once("line", done)),
      new Promise((_, fail) => this.child.once("exit", (code) => fail(new Error(`the runtime ended with ${code}: ${this.log}`)))),
    ]);
    const started = JSON.parse(first);
    this.url = `${started.status.replace(/\/$/, "")}/`;
    await until("readiness", async () => (await fetch(`${this.url}ready`)).ok, 300000);
  }

  async command(...args) {
    const { stdout } = await run(binary, args, { cwd: this.folder, maxBuffer: 1 << 26 });
    return stdout.trim();
  }

  async json(...args) {
    return JSON.parse(await this.command(...args, "--json"));
  }

  async api(method, path, body) {
    const response = await fetch(`${this.url}api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${this.secret}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
    return answer;
  }

  // An address that signs in whoever opens it.
  address(...args) {
    return this.command("ui", "--print", ...args);
  }

  // Ends the runtime, and keeps its folder.
  async halt() {
    if (this.child?.exitCode === null) {
      const ended = new Promise((done) => this.child.once("exit", done));
      this.child.kill("SIGTERM");
      const late = setTimeout(() => this.child.kill("SIGKILL"), 15000);
      await ended;
      clearTimeout(late);
    }
  }

  async stop() {
    await this.halt();
    await rm(this.folder, { recursive: true, force: true });
  }
}

export { here };
