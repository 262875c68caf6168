// Blind rating and candidates: graded by keys, revealed at the end, in the report; a person's pick among candidates.

import { Api, cellOf, type Notebook } from "./api.ts";
import { connected, expect, hydrated, test } from "./test.ts";

const generate = { candidates: 3, temperature: 1.2, evaluated_pairs: 4 };

test("a person grades texts by keys without seeing who wrote them, goes on after a reload, and the report has the result", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const notebook = await finished(api, "Rated");
  await list.goto(`${server.origin}/experiments/${notebook.id}`);
  await connected(list);
  await list.getByRole("link", { name: "Rate blind" }).click();
  await expect(list.getByRole("heading", { name: "Rate blind" })).toBeVisible();
  await hydrated(list);
  await list.getByLabel("Your name").fill("Ada");
  await list.getByRole("button", { name: "Start rating" }).click();
  // Four pairs, each with the generated instruction, the base model's and the reference.
  const place = list.getByRole("status").filter({ hasText: "Text" });
  await expect(place).toHaveText("Text 1 of 12, 0 rated");
  const page = await list.locator("main").innerText();
  expect(page).not.toMatch(/Generated|Human reference/);
  await expect(list.locator('[data-criterion="relevance"]')).toHaveAttribute("aria-current", "true");
  for (const key of ["4", "3", "2", "5"]) await list.keyboard.press(key);
  await expect(place).toHaveText("Text 2 of 12, 1 rated");
  await list.keyboard.press("2");
  await expect(list.locator('[data-criterion="clarity"]')).toHaveAttribute("aria-current", "true");
  await list.getByRole("button", { name: "Clarity: 1 of 5" }).click();
  await list.keyboard.press("k");
  await expect(list.getByRole("button", { name: "Relevance: 4 of 5" })).toHaveAttribute("aria-pressed", "true");
  await expect(list.getByText("Saving…")).toHaveCount(0);

  await list.reload();
  await hydrated(list);
  await expect(list.getByLabel("Your name")).toHaveValue("Ada");
  await list.getByRole("button", { name: "Start rating" }).click();
  await expect(place).toHaveText("Text 2 of 12, 1 rated");
  for (let keys = 0; keys < 42; keys += 1) await list.keyboard.press(String(1 + (keys % 5)));
  await expect(place).toHaveText("Text 12 of 12, 12 rated");
  await list.getByRole("button", { name: "Reveal the result" }).click();
  const result = list.getByRole("region", { name: "Result" });
  await expect(result.getByRole("columnheader", { name: "Base model" })).toBeVisible();
  await expect(result).toContainText("12 texts by 1 rater");

  await api.call("run_cell", { cell: cellOf(notebook, "report").id, retrain: false, key: crypto.randomUUID() });
  await list.goto(`${server.origin}/experiments/${notebook.id}`);
  await expect(async () => {
    const run = cellOf(await api.notebook(notebook.id), "report").run!;
    expect(run.state).toBe("done");
    await list.goto(`${server.origin}/reports/${run.run}`);
    await expect(list.getByText("Relevant, by people")).toBeVisible({ timeout: 2_000 });
  }).toPass({ timeout: 30_000 });
  await expect(list.getByRole("region", { name: "Ratings" })).toContainText("12 texts by 1 rater");
  await expect(list.getByRole("region", { name: "Baseline of the base model" })).toContainText("the same 4 responses");
  await expect(list.getByRole("region", { name: "Likelihoods under the base model" })).toContainText("any other of 4");
});

test("grades that are given while the server is away are saved when it is back", async ({ list, server, complaints }) => {
  complaints.expect(/ERR_CONNECTION|WebSocket connection|fetch/i);
  const api = new Api(list.request, server.origin);
  const run = cellOf(await finished(api, "Away"), "generate").run!.run;
  await list.goto(`${server.origin}/rate/${run}`);
  await hydrated(list);
  await list.getByLabel("Your name").fill("Bo");
  await list.getByRole("button", { name: "Start rating" }).click();
  const place = list.getByRole("status").filter({ hasText: "Text" });
  await expect(place).toHaveText("Text 1 of 12, 0 rated");
  await server.kill();
  for (const key of ["5", "4", "3", "2", "1"]) await list.keyboard.press(key);
  await expect(list.getByText("Saving…")).toBeVisible();
  await server.restart();
  await expect(list.getByText("Saving…")).toHaveCount(0, { timeout: 20_000 });
  await list.reload();
  await hydrated(list);
  await list.getByRole("button", { name: "Start rating" }).click();
  await expect(place).toHaveText("Text 2 of 12, 1 rated");
});

test("a person takes another candidate than the one that ranked first", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const notebook = await finished(api, "Picked");
  await list.goto(`${server.origin}/experiments/${notebook.id}`);
  await connected(list);
  const table = list.getByRole("region", { name: "Decide on pairs" });
  await table.getByRole("button", { name: "Replay" }).click();
  await expect(table.locator("[data-replay]")).toHaveText("Identical: the same text came out again.");
  const others = table.locator(".candidates li");
  await expect(others).toHaveCount(2);
  const text = await others.first().locator(".text").innerText();
  await others.first().getByRole("button", { name: "Use this one" }).click();
  await expect(table.getByRole("textbox", { name: "Instruction", exact: true })).toHaveValue(new RegExp(escaped(text.trim().slice(0, 12))));
  await expect(table).toContainText("1 edited");
  await expect(table.getByRole("status").filter({ hasText: "sav" })).toHaveCount(0);
  const run = cellOf(notebook, "generate").run!.run;
  const file = await list.request.get(`${server.origin}/download/${run}?rows=preference`);
  const rows = (await file.text()).trim().split("\n").map((line) => JSON.parse(line) as Record<string, string>);
  expect(rows.length).toBeGreaterThan(1);
  for (const row of rows) expect(row.chosen).not.toBe(row.rejected);
});

test("one candidate cannot be chosen among greedy ones: the setting is refused with what to do", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const notebook = await api.quickStart("Greedy", { generate: { limit: 2, candidates: 2, temperature: 0 } });
  await api.runAll(notebook.id);
  await expect(async () => {
    const run = cellOf(await api.notebook(notebook.id), "generate").run!;
    expect(run.state).toBe("failed");
    expect(run.error!.message).toMatch(/candidates/);
    expect(run.error!.message).toMatch(/temperature above 0/);
  }).toPass({ timeout: 60_000 });
});

async function finished(api: Api, name: string): Promise<Notebook> {
  const experiment = await api.quickStart(name, { generate: { limit: 4, max_new_tokens: 12, ...generate } });
  return api.finish(experiment.id);
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
