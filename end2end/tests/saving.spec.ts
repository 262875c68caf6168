// Edits: whatever happens to the page, the network or the server, an edit that a person made is not lost.

import type { Locator, Page } from "@playwright/test";
import { Api, cellOf } from "./api.ts";
import { connected, expect, test } from "./test.ts";

test("an edit is saved when the page is left at once", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Left at once");
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  await fill(list, "train", "rank", "5");
  await list.getByRole("link", { name: "Backtranslate" }).first().click();
  await expect(list).toHaveURL(`${server.origin}/`);
  await expect(async () => expect(await setting(api, experiment.id, "rank")).toBe(5)).toPass();
});

test("an edit is saved when the page is closed at once", async ({ list, server, context }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Closed at once");
  const page = await context.newPage();
  await open(page, `${server.origin}/experiments/${experiment.id}`);
  await fill(page, "train", "rank", "6");
  await page.close({ runBeforeUnload: false });
  await expect(async () => expect(await setting(api, experiment.id, "rank")).toBe(6)).toPass();
});

test("edits made while the server is away are saved when it is back", async ({ list, server, complaints }) => {
  complaints.expect(/ERR_CONNECTION|WebSocket connection|fetch/i);
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Server away");
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  await server.kill();
  await fill(list, "train", "rank", "7");
  await expect(cell(list, "train")).toContainText("not saved");
  await server.restart();
  await connected(list);
  await expect(async () => expect(await setting(api, experiment.id, "rank")).toBe(7)).toPass({ timeout: 20_000 });
  await expect(cell(list, "train")).not.toContainText("not saved");
});

test("edits that could not be saved before the page was closed are taken up by the next visit", async ({ list, server, context, complaints }) => {
  complaints.expect(/ERR_CONNECTION|WebSocket connection|fetch/i);
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Closed while away");
  const page = await context.newPage();
  await open(page, `${server.origin}/experiments/${experiment.id}`);
  await server.kill();
  await fill(page, "train", "rank", "9");
  await expect(cell(page, "train")).toContainText("not saved");
  await page.close({ runBeforeUnload: false });
  await server.restart();
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  await expect(async () => expect(await setting(api, experiment.id, "rank")).toBe(9)).toPass({ timeout: 20_000 });
});

test("two pages that edit different settings both keep their edits", async ({ list, server, context }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Two pages");
  const other = await context.newPage();
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  await open(other, `${server.origin}/experiments/${experiment.id}`);
  await fill(list, "train", "rank", "11");
  await fill(other, "train", "alpha", "99");
  await expect(async () => {
    expect(await setting(api, experiment.id, "rank")).toBe(11);
    expect(await setting(api, experiment.id, "alpha")).toBe(99);
  }).toPass();
  await expect(field(list, "train", "alpha")).toHaveValue("99");
  await expect(field(other, "train", "rank")).toHaveValue("11");
});

test("a value that is not accepted blocks a run and gets the focus", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Not accepted");
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  await fill(list, "train", "rank", "abc");
  await list.getByRole("button", { name: "Run all" }).click();
  await expect(field(list, "train", "rank")).toBeFocused();
  await expect(cell(list, "train").getByRole("alert").first()).toBeVisible();
  const notebook = await api.notebook(experiment.id);
  expect(notebook.cells.every((cell) => cell.run === null)).toBe(true);
});

test("train again and run does both", async ({ list, server, complaints }) => {
  // The server refuses at first, and the page asks.
  complaints.expect(/409/);
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Train again");
  const before = cellOf(await api.finish(experiment.id), "train").run!.run;
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  await fill(list, "train", "rank", "3");
  await expect(cell(list, "generate")).toHaveAttribute("data-stale", "");
  await cell(list, "generate").getByRole("button", { name: "Run", exact: true }).click();
  await list.getByRole("button", { name: "Train again and run" }).click();
  await expect(cell(list, "generate")).not.toHaveAttribute("data-stale", "", { timeout: 60_000 });
  await expect(cell(list, "generate")).toHaveAttribute("data-state", "done", { timeout: 60_000 });
  expect(cellOf(await api.notebook(experiment.id), "train").run!.run).toBeGreaterThan(before);
});

async function open(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await connected(page);
}

function cell(page: Page, kind: string): Locator {
  return page.locator(`[data-cell="${kind}"]`);
}

function field(page: Page, kind: string, key: string): Locator {
  return cell(page, kind).locator(`[name="${key}"]`);
}

/** Types into a field of a cell's form, opening what hides it. */
async function fill(page: Page, kind: string, key: string, text: string): Promise<void> {
  const settings = cell(page, kind).locator("details.config");
  if ((await settings.getAttribute("open")) === null) await settings.locator("> summary").click();
  const more = settings.locator("details.more").filter({ has: page.locator(`[name="${key}"]`) });
  if ((await more.count()) > 0 && (await more.getAttribute("open")) === null) await more.locator("> summary").click();
  await field(page, kind, key).fill(text);
}

async function setting(api: Api, experiment: number, key: string): Promise<unknown> {
  return cellOf(await api.notebook(experiment), "train").config[key];
}
