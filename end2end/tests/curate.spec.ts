// Deciding on pairs: with keys, in bulk, undone and redone, kept through a reload and without a connection.

import type { Locator, Page } from "@playwright/test";
import { Api, cellOf, type Notebook } from "./api.ts";
import { connected, expect, test } from "./test.ts";

test("pairs are kept, dropped, edited and undone by keys, and the decisions survive a reload", async ({ list, server }) => {
  const { address } = await finished(list, server.origin, "Keys");
  await open(list, address);
  const table = review(list);
  await table.getByRole("listbox", { name: "Pairs" }).focus();
  await list.keyboard.press("a");
  await list.keyboard.press("d");
  await expect(row(list, 0)).toHaveAttribute("data-decision", "keep");
  await expect(row(list, 1)).toHaveAttribute("data-decision", "drop");
  await expect(row(list, 2)).toHaveAttribute("aria-selected", "true");
  await list.keyboard.press("k");
  await expect(row(list, 1)).toHaveAttribute("aria-selected", "true");
  await list.keyboard.press("j");
  await list.keyboard.press("e");
  await expect(instruction(table)).toBeFocused();
  await instruction(table).fill("Explain what a kettle is for.");
  await list.keyboard.press("Escape");
  await expect(table.getByRole("listbox")).toBeFocused();
  await expect(row(list, 2)).toContainText("Explain what a kettle is for.");
  await list.keyboard.press("z");
  await expect(row(list, 2)).not.toContainText("Explain");
  await list.keyboard.press("Shift+Z");
  await expect(table).toContainText("1 kept, 1 dropped, 2 undecided, 1 edited");
  await expect(table.getByRole("status").filter({ hasText: "sav" })).toHaveCount(0);

  await list.reload();
  await connected(list);
  await expect(table).toContainText("1 kept, 1 dropped, 2 undecided, 1 edited");
  await expect(row(list, 2)).toContainText("Explain what a kettle is for.");
  // The decisions are newer than the cell's run.
  await expect(list.locator('[data-cell="curate"]')).toHaveAttribute("data-stale", "");
});

test("a decision on all pairs of a filter can be undone", async ({ list, server }) => {
  const { address } = await finished(list, server.origin, "Bulk");
  await open(list, address);
  const table = review(list);
  await table.getByRole("button", { name: "Drop all 4" }).click();
  await expect(table).toContainText("0 kept, 4 dropped, 0 undecided");
  await table.getByLabel("Decision").selectOption("undecided");
  await expect(table).toContainText("No matching pairs.");
  await table.getByLabel("Decision").selectOption("");
  await table.getByRole("button", { name: "Undo" }).click();
  await expect(table).toContainText("0 kept, 0 dropped, 4 undecided");
});

test("rows far down load, also after a decision on all pairs was made from the middle", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const rows = Array.from({ length: 130 }, (_, at) => JSON.stringify({ id: `r${at}`, response: `Response number ${at} is about rain.` }));
  const file = await api.upload("many.jsonl", rows.join("\n"));
  const experiment = await api.quickStart("Many", { generate: { file, limit: "", max_new_tokens: 3, evaluated_pairs: 0 } });
  const notebook = await api.finish(experiment.id);
  await list.goto(`${server.origin}/experiments/${experiment.id}?cell=${cellOf(notebook, "curate").id}&row=49`);
  await connected(list);
  const table = review(list);
  await expect(row(list, 48)).toHaveAttribute("aria-selected", "true");
  await table.getByRole("button", { name: "Drop all 130" }).click();
  await expect(table).toContainText("0 kept, 130 dropped");
  await table.getByRole("listbox").focus();
  for (let keys = 0; keys < 6; keys += 1) await list.keyboard.press("PageDown");
  await expect(row(list, 108)).toHaveAttribute("aria-selected", "true");
  await expect(row(list, 108)).toHaveAttribute("data-decision", "drop");
  await expect(table.locator(".detail")).toContainText("Response number 108 is about rain.");
  await list.keyboard.press("End");
  await expect(table.locator(".detail")).toContainText("Response number 129 is about rain.");
});

test("a pair has an address that opens it", async ({ list, server }) => {
  const { address, notebook } = await finished(list, server.origin, "Linked");
  await list.goto(`${address}?cell=${cellOf(notebook, "curate").id}&row=3`);
  await connected(list);
  await expect(row(list, 2)).toHaveAttribute("aria-selected", "true");
  await expect(review(list).locator(".detail")).toHaveAttribute("data-row", "3");
  await review(list).getByRole("listbox").focus();
  await list.keyboard.press("j");
  await expect(list).toHaveURL(/row=4/);
});

test("decisions that are made while the server is away are saved when it is back", async ({ list, server, complaints }) => {
  complaints.expect(/ERR_CONNECTION|WebSocket connection|fetch/i);
  const { address } = await finished(list, server.origin, "Away");
  await open(list, address);
  const table = review(list);
  await expect(row(list, 0)).toBeVisible();
  await server.kill();
  await table.getByRole("button", { name: "Keep a", exact: true }).click();
  await expect(table).toContainText("not saved");
  await server.restart();
  await connected(list);
  await expect(table).not.toContainText("not saved", { timeout: 20_000 });
  await list.reload();
  await connected(list);
  await expect(table).toContainText("1 kept");
});

test("the report shows what was decided, and kept pairs can be trained on", async ({ list, server }) => {
  const { address } = await finished(list, server.origin, "Decided");
  await open(list, address);
  const table = review(list);
  await table.getByRole("listbox").focus();
  await list.keyboard.press("d");
  await list.keyboard.press("a");
  await expect(table.getByRole("status").filter({ hasText: "sav" })).toHaveCount(0);
  await list.getByRole("button", { name: "Run all" }).click();
  const curate = list.locator('[data-cell="curate"]');
  await expect(curate).toContainText("1 kept, 1 dropped", { timeout: 60_000 });
  await expect(list.locator('[data-cell="report"]')).not.toHaveAttribute("data-stale", "", { timeout: 60_000 });
  await curate.getByRole("button", { name: "Add kept pairs to the data files" }).click();
  await expect(curate).toContainText("Added as “Kept pairs of Decided.jsonl”.");
});

test("two runs are compared from their cell, with and without the rows that are the same", async ({ list, server }) => {
  const { address, notebook } = await finished(list, server.origin, "Compared");
  const api = new Api(list.request, server.origin);
  await api.save(cellOf(notebook, "generate").id, { seed: 2 });
  await api.finish(notebook.id);
  await open(list, address);
  await list.getByRole("link", { name: "Compare with another run" }).click();
  await list.getByRole("button", { name: "Compare", exact: true }).click();
  await expect(list.getByText("4 responses in both runs")).toBeVisible();
  await expect(list.getByRole("region", { name: "Settings that differ" })).toContainText("generate.seed");
  const all = await list.locator(".compared-row").count();
  const same = await list.locator(".compared-row[data-same]").count();
  expect(all).toBe(4);
  await list.getByLabel("Only rows that differ").check();
  await list.getByRole("button", { name: "Compare", exact: true }).click();
  await expect(list.locator(".compared-row")).toHaveCount(all - same);
});

async function finished(page: Page, origin: string, name: string): Promise<{ address: string; notebook: Notebook }> {
  const api = new Api(page.request, origin);
  const experiment = await api.quickStart(name);
  return { address: `${origin}/experiments/${experiment.id}`, notebook: await api.finish(experiment.id) };
}

async function open(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await connected(page);
}

function review(page: Page): Locator {
  return page.getByRole("region", { name: "Decide on pairs" });
}

function row(page: Page, index: number): Locator {
  return review(page).locator(`.row[data-pair="${index}"]`);
}

function instruction(table: Locator): Locator {
  return table.getByRole("textbox", { name: "Instruction", exact: true });
}
