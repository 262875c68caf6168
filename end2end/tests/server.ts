// The product's server as a test holds it: built binary, free port, temporary data folder; it can be killed and
// started again on the same port and data.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const repository = resolve(import.meta.dirname, "../..");
const binary = process.env.BACKTRANSLATE ?? join(repository, "target/release/backtranslate");
/** A Llama of a few thousand parameters: everything works, in seconds, and says nothing sensible. */
const model = process.env.BASE_MODEL ?? join(repository, "server/engine/tests/fixtures/tiny-llama");

export class Server {
  /** The link with the token, as the server printed it. */
  link = "";
  /** Everything that it printed. */
  log = "";
  private process?: ChildProcess;

  private constructor(
    readonly data: string,
    readonly port: number,
    private readonly extra: string[],
  ) {}

  static async start(extra: string[] = []): Promise<Server> {
    const server = new Server(await mkdtemp(join(tmpdir(), "backtranslate-")), await freePort(), extra);
    await server.restart();
    return server;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it on the same data and port; ready once it has printed its link and answers. */
  async restart(): Promise<void> {
    const listen = `127.0.0.1:${this.port}`;
    const words = ["serve", "--data", this.data, "--listen", listen, "--model", model, ...this.extra];
    const child = spawn(binary, words, { stdio: ["ignore", "pipe", "pipe"] });
    this.process = child;
    this.link = await new Promise<string>((found, failed) => {
      let printed = "";
      const hear = (chunk: Buffer) => {
        this.log += chunk;
        printed += chunk;
        const link = /https?:\/\/\S+\?token=[^\s"']+/.exec(printed);
        if (link) found(link[0]);
      };
      child.stdout?.on("data", hear);
      child.stderr?.on("data", hear);
      child.on("error", failed);
      child.on("exit", (code, signal) => failed(new Error(`the server ended (${code ?? signal}) before it was ready:\n${this.log}`)));
      setTimeout(() => failed(new Error(`no link within 30 s:\n${this.log}`)), 30_000).unref();
    });
    for (let attempt = 0; attempt < 100; attempt++) {
      const answer = await fetch(`${this.origin}/healthz`).catch(() => undefined);
      if (answer?.ok) return;
      await new Promise((later) => setTimeout(later, 50));
    }
    throw new Error(`${this.origin}/healthz does not answer:\n${this.log}`);
  }

  /** As a power cut does it: no goodbye. */
  async kill(): Promise<void> {
    await this.end("SIGKILL");
  }

  /** Ends it and removes its data. */
  async close(): Promise<void> {
    await this.end("SIGTERM");
    await rm(this.data, { recursive: true, force: true });
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    const impatience = setTimeout(() => child.kill("SIGKILL"), 15_000);
    await gone;
    clearTimeout(impatience);
  }
}

async function freePort(): Promise<number> {
  return new Promise((found, failed) => {
    const probe = createServer();
    probe.once("error", failed);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => (typeof address === "object" && address ? found(address.port) : failed(new Error("no port"))));
    });
  });
}
