// The main job as a person does it: from an empty data folder to a report that a stranger reads, with a reload,
// a closed tab and a killed server on the way.

import type { Locator, Page } from "@playwright/test";
import { connected, expect, hydrated, test } from "./test.ts";

test("from an empty data folder to a shared report, through a reload and a restart", async ({ page, server, browser, complaints }) => {
  test.setTimeout(300_000);
  // What the browser says about connections to a server that was killed.
  complaints.expect(/ERR_CONNECTION|WebSocket connection|ERR_EMPTY_RESPONSE|ERR_NETWORK|fetch/i);

  await test.step("the printed link signs in and leaves no token in the address", async () => {
    await page.goto(server.link);
    await hydrated(page);
    await expect(page).toHaveURL(`${server.origin}/`);
  });

  await test.step("an experiment from the quick-start preset, on the tiny model", async () => {
    await create(page, "From nothing", /quick start/i);
    await connected(page);
    await expect(cell(page, "train")).toHaveAttribute("data-state", "fresh");
    await choose(cell(page, "model"), "Base model", /tiny/i);
    await set(cell(page, "train"), { Epochs: "1000", "Max steps": "400", "Save steps": "25" });
    // All together and long, so that each is at work for seconds: the tiny model writes a row alone between two frames.
    await set(cell(page, "generate"), { "Max rows": "24", "Max new tokens": "1024", "Batch size": "24" });
  });

  const chart = cell(page, "train").locator('[data-chart="loss"]');
  await test.step("loss points arrive over the socket", async () => {
    await page.getByRole("button", { name: "Run all" }).click();
    await expect(cell(page, "data")).toHaveAttribute("data-state", "done");
    await expect(cell(page, "train")).toHaveAttribute("data-state", "running");
    const first = await points(chart);
    await expect.poll(() => points(chart)).toBeGreaterThan(first + 2);
  });

  await test.step("a reload in mid-run comes back to the truth", async () => {
    const before = await points(chart);
    await page.reload();
    await connected(page);
    expect(await points(chart)).toBeGreaterThanOrEqual(before);
    await expect.poll(() => points(chart)).toBeGreaterThan(before + 2);
  });

  await test.step("a killed server loses nothing that was shown; the run says that it was cut off", async () => {
    await expect(cell(page, "train")).toHaveAttribute("data-state", "running");
    await expect(cell(page, "train").getByText(/^\d+ checkpoints?$/)).toBeVisible();
    await server.kill();
    await expect(page.locator("html")).not.toHaveAttribute("data-socket", "open");
    await server.restart();
    await connected(page);
    await expect(cell(page, "train")).toHaveAttribute("data-state", "interrupted");
    expect(await points(chart)).toBeGreaterThan(2);
  });

  await test.step("Resume goes on to the end", async () => {
    await cell(page, "train").getByRole("button", { name: "Resume" }).click();
    await expect(cell(page, "train")).toHaveAttribute("data-state", "running");
    await expect(cell(page, "train")).toHaveAttribute("data-state", "done", { timeout: 180_000 });
  });

  await test.step("tokens arrive for each pair, then the report", async () => {
    const written = watchWriting(page);
    await page.getByRole("button", { name: "Run all" }).click();
    await expect(cell(page, "report")).toHaveAttribute("data-state", "done", { timeout: 60_000 });
    expect(await written, "pairs that were seen while they were written").toBeGreaterThan(0);
    await expect(cell(page, "generate").locator("[data-pair]").first()).toBeVisible();
  });

  await test.step("the shared report opens for a stranger, and nothing else does", async () => {
    await cell(page, "report").getByRole("button", { name: "Create share link" }).click();
    const link = await sharedLink(page);
    const stranger = await browser.newContext();
    complaints.listen(stranger);
    const theirs = await stranger.newPage();
    await theirs.goto(link);
    await hydrated(theirs);
    await expect(theirs.locator("[data-pair]")).toHaveCount(24);
    await expect(theirs.locator('[data-chart="loss"]')).toBeVisible();

    complaints.expect(/401/);
    const refused = await theirs.goto(page.url());
    expect(refused?.status()).toBe(401);
    await expect(theirs.locator("[data-cell]")).toHaveCount(0);
    await stranger.close();
  });
});

function cell(page: Page, kind: string): Locator {
  return page.locator(`[data-cell="${kind}"]`);
}

async function points(chart: Locator): Promise<number> {
  return Number((await chart.count()) ? await chart.getAttribute("data-points") : 0);
}

async function create(page: Page, name: string, preset: RegExp): Promise<void> {
  await page.getByRole("button", { name: "New experiment" }).click();
  const dialog = page.getByRole("dialog", { name: "New experiment" });
  await dialog.getByLabel("Name").fill(name);
  await dialog.getByRole("radio", { name: preset }).check();
  await dialog.getByRole("button", { name: "Create" }).click();
  await expect(page).toHaveURL(/\/experiments\/\d+/);
}

async function choose(where: Locator, label: string, option: RegExp): Promise<void> {
  await unfold(where);
  const select = where.getByLabel(label);
  const name = await select.locator("option").filter({ hasText: option }).first().textContent();
  await select.selectOption({ label: (name ?? "").trim() });
}

async function set(where: Locator, settings: Record<string, string>): Promise<void> {
  await unfold(where);
  for (const [label, value] of Object.entries(settings)) await where.getByLabel(label, { exact: true }).fill(value);
}

/** Opens the cell's settings, and those within that are folded. */
async function unfold(where: Locator): Promise<void> {
  const page = where.page();
  const settings = where.locator("details:not([open])").filter({ has: page.locator(":scope > summary", { hasText: /^Settings/ }) });
  if (await settings.count()) await settings.locator("> summary").click();
  const groups = where.locator("details.more:not([open])");
  while (await groups.count()) await groups.first().locator("> summary").click();
}

/** Counts pairs in the making from here until the generation is over. */
async function watchWriting(page: Page): Promise<number> {
  return page.evaluate(
    () =>
      new Promise<number>((seen) => {
        const pairs = new Set<string>();
        const look = () => {
          for (const pair of document.querySelectorAll("[data-writing]")) pairs.add(pair.getAttribute("data-writing") ?? "");
          const state = document.querySelector('[data-cell="generate"]')?.getAttribute("data-state");
          if (state === "done" || state === "failed") {
            observer.disconnect();
            seen(pairs.size);
          }
        };
        const observer = new MutationObserver(look);
        observer.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
      }),
  );
}

async function sharedLink(page: Page): Promise<string> {
  const link = page.locator("[data-share-link]");
  await expect(link).toHaveAttribute("href", /\/r\/[\w-]{22,}$/);
  return (await link.getAttribute("href")) ?? "";
}
