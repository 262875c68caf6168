// What every test starts from: a server of its own, a page that is signed in, and an eye on the console.

import { type BrowserContext, type ConsoleMessage, type Page, expect, test as base } from "@playwright/test";
import { Server } from "./server.ts";

/** Collects what pages complain about; a complaint that no test expected fails it. */
export class Complaints {
  private readonly heard: string[] = [];
  private readonly expected: RegExp[] = [];

  listen(context: BrowserContext): void {
    context.on("console", (message: ConsoleMessage) => {
      if (message.type() === "error" || message.type() === "warning") {
        this.heard.push(`${message.type()}: ${message.text()} (${message.location().url})`);
      }
    });
    context.on("weberror", (error) => this.heard.push(`uncaught: ${error.error()}`));
  }

  /** Says that a complaint is part of what this test does. */
  expect(pattern: RegExp): void {
    this.expected.push(pattern);
  }

  unexpected(): string[] {
    return this.heard.filter((complaint) => !this.expected.some((pattern) => pattern.test(complaint)));
  }
}

interface Fixtures {
  server: Server;
  complaints: Complaints;
  /** On the list of experiments, signed in, hydrated. */
  list: Page;
}

export const test = base.extend<Fixtures>({
  server: async ({}, use, information) => {
    const server = await Server.start();
    await use(server);
    await server.close();
    if (information.status !== information.expectedStatus) {
      await information.attach("server.log", { body: server.log, contentType: "text/plain" });
    }
  },
  complaints: [
    // Asks for the server so that it is judged before the server goes away under the pages.
    async ({ context, server: _ }, use) => {
      const complaints = new Complaints();
      complaints.listen(context);
      await use(complaints);
      expect(complaints.unexpected(), "errors and warnings in the browser's console").toEqual([]);
    },
    { auto: true },
  ],
  list: async ({ page, server }, use) => {
    await page.goto(server.link);
    await hydrated(page);
    await use(page);
  },
});

/** The page's own code runs: buttons do something from here on. */
export async function hydrated(page: Page): Promise<void> {
  await expect(page.locator("html")).toHaveAttribute("data-hydrated", /.*/, { timeout: 30_000 });
}

/** Hydrated, and listening to the server. */
export async function connected(page: Page): Promise<void> {
  await hydrated(page);
  await expect(page.locator("html")).toHaveAttribute("data-socket", "open", { timeout: 45_000 });
}

export { expect };
