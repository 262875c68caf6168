// What the page says while it is used: true, readable, and gone once it is no longer so.

import type { Locator, Page } from "@playwright/test";
import { Api, cellOf } from "./api.ts";
import { connected, expect, hydrated, test } from "./test.ts";

test("a share link can be copied where the browser gives no clipboard, as over plain HTTP", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Copied");
  await api.finish(experiment.id);
  await list.addInitScript(() => Object.defineProperty(Navigator.prototype, "clipboard", { get: () => undefined }));
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  const report = cell(list, "report");
  await report.getByRole("button", { name: "Create share link" }).click();
  const link = (await report.locator("[data-share-link]").textContent()) ?? "";
  await report.getByRole("button", { name: "Copy the link" }).click();
  await expect(report.getByRole("button", { name: /^(Copied|Selected)/ })).toBeVisible();
  expect(await list.evaluate(() => getSelection()?.toString().trim())).toBe(link);
});

test("generated instructions are as large and as dark as the page's own text", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Readable");
  await api.finish(experiment.id);
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  const look = (element: Element) => {
    const { fontSize, color } = getComputedStyle(element);
    return { fontSize, color };
  };
  const page = await list.locator("body").evaluate(look);
  const rows = cell(list, "generate").locator("[data-pair] summary");
  await expect(rows.first()).toBeVisible();
  expect(await rows.first().evaluate(look)).toEqual(page);
});

test("the slider of the loss chart has a name", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Named");
  await api.finish(experiment.id);
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  const slider = list.getByRole("slider", { name: "Smoothing", exact: true });
  await expect(slider).toBeVisible();
  await list.getByText("Smoothing", { exact: true }).click();
  await expect(slider).toBeFocused();
});

test("an error of a lost connection goes when the connection is back", async ({ list, server, complaints }) => {
  complaints.expect(/ERR_CONNECTION|WebSocket connection|fetch/i);
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Errors go");
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  await server.kill();
  await cell(list, "note").getByRole("button", { name: "Move Note down" }).click();
  await list.getByRole("group", { name: "Add a cell" }).getByRole("button", { name: "Note" }).click();
  const above = cell(list, "note").locator(".error");
  // The place to add a cell is the last one: its error is shown there.
  const below = list.locator("main > .error").last();
  await expect(above).toBeVisible();
  await expect(below).toBeVisible();
  const last = await cell(list, "report").boundingBox();
  expect((await below.boundingBox())!.y).toBeGreaterThan(last!.y);
  await server.restart();
  await connected(list);
  await expect(list.locator(".error")).toHaveCount(0);
});

test("an experiment that is deleted in another page says so", async ({ list, server, context, complaints }) => {
  complaints.expect(/404/);
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Deleted elsewhere");
  const other = await context.newPage();
  await open(other, `${server.origin}/experiments/${experiment.id}`);
  await api.call("delete_experiment", { experiment: experiment.id });
  await expect(other.getByRole("alert")).toContainText("was deleted in another page");
  const answer = await list.request.get(`${server.origin}/experiments/${experiment.id}`);
  expect(answer.status()).toBe(404);
});

test("without a connection a run's clock stands still and nothing is claimed of the run", async ({ list, server, complaints }) => {
  complaints.expect(/ERR_CONNECTION|WebSocket connection|fetch/i);
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Clock", { train: { epochs: 1000, samples: 0 } });
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  await api.runAll(experiment.id);
  const timer = cell(list, "train").locator(".timer");
  await expect(timer).toHaveText(/0:0[2-9]/);
  await server.kill();
  await expect(list.locator(".connection")).toHaveText("Connection lost. Reconnecting; what is shown here may be out of date.");
  const stopped = await timer.textContent();
  // Longer than the clock's second, so that one that goes on would show it.
  await list.waitForTimeout(2_500);
  await expect(timer).toHaveText(stopped!);
  await server.restart();
  await connected(list);
  await expect(cell(list, "train")).toHaveAttribute("data-state", "interrupted");
  await expect(list.locator(".connection")).toHaveText("");
});

test("Run all says when there is nothing to run", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Nothing to run");
  await api.finish(experiment.id);
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  await list.getByRole("button", { name: "Run all" }).click();
  await expect(list.getByRole("status").filter({ hasText: "Nothing to run: every cell is up to date." })).toBeVisible();
});

test("a search that is emptied shows all pairs again without a key more", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Search");
  await api.finish(experiment.id);
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  const pairs = cell(list, "generate").getByRole("region", { name: "Pairs" });
  const search = pairs.getByRole("searchbox", { name: "Search" });
  await search.fill("no text holds this");
  await expect(pairs.locator("caption")).toHaveText("No matching pairs.");
  await search.fill("");
  await expect(pairs.locator("caption")).toHaveText("1 to 4 of 4 pairs");
});

test("the list shows experiments that are made, run and deleted in another page", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  await connected(list);
  const experiment = await api.quickStart("Made elsewhere");
  const entry = list.locator(`[data-experiment="${experiment.id}"]`);
  await expect(entry).toContainText("Made elsewhere");
  await api.finish(experiment.id);
  await expect(entry.locator('[data-state="done"]')).toHaveCount(6);
  await api.call("delete_experiment", { experiment: experiment.id });
  await expect(entry).toHaveCount(0);
  // What a footer said of the queue was true only as long as nothing moved.
  await expect(list.locator("footer")).not.toContainText("queue");
});

test("one is not said in the plural", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("One", { generate: { limit: 1, max_new_tokens: 4 } });
  await api.finish(experiment.id);
  await open(list, `${server.origin}/experiments/${experiment.id}`);
  await hydrated(list);
  expect(await list.locator("main").innerText()).not.toMatch(/(?<![\d.,/])1 (pairs|rows|tokens|steps|cells|instructions|responses)\b/);
  expect(cellOf(await api.notebook(experiment.id), "generate").run?.state).toBe("done");
});

async function open(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await connected(page);
}

function cell(page: Page, kind: string): Locator {
  return page.locator(`[data-cell="${kind}"]`);
}
