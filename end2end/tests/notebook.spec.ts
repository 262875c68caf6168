// What a person does to a notebook besides running it through: stop, resume, change, rename, delete.

import { Api } from "./api.ts";
import { connected, expect, hydrated, test } from "./test.ts";

test("a run that is stopped and saved goes on from where it was", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Stopped", { train: { epochs: 1000, max_steps: 200, save_steps: null } });
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);
  const train = list.locator('[data-cell="train"]');
  const chart = train.locator('[data-chart="loss"]');
  await train.getByRole("button", { name: "Run", exact: true }).click();
  await expect(chart).toHaveAttribute("data-points", /^([5-9]|\d\d+)$/);
  await train.getByRole("button", { name: "Stop", exact: true }).click();
  const asked = list.getByRole("dialog", { name: "Stop this run?" });
  await expect(asked).toContainText(/resumed/);
  await asked.getByRole("button", { name: "Stop and save" }).click();
  await expect(train).toHaveAttribute("data-state", "stopped");
  const stopped = Number(await chart.getAttribute("data-points"));

  await train.getByRole("button", { name: "Resume" }).click();
  await expect(train).toHaveAttribute("data-state", "running");
  // Exactly there: nothing that was shown is taken back.
  expect(Number(await chart.getAttribute("data-points"))).toBeGreaterThanOrEqual(stopped);
  await expect(train).toHaveAttribute("data-state", "done", { timeout: 100_000 });
  await expect(chart).toHaveAttribute("data-points", "200");
});

test("a changed setting makes its cell stale and says which; running it again makes it fresh", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Changed");
  await api.finish(experiment.id);
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);
  const generate = list.locator('[data-cell="generate"]');
  const report = list.locator('[data-cell="report"]');
  await expect(generate).not.toHaveAttribute("data-stale");
  await generate.locator("summary", { hasText: /^Settings/ }).first().click();
  await generate.getByLabel("Temperature").fill("0.2");
  await expect(generate).toHaveAttribute("data-stale", "");
  await expect(generate).toContainText("temperature: 0.7 → 0.2");
  await expect(report).toHaveAttribute("data-stale", "");
  await list.getByRole("button", { name: "Run all" }).click();
  await expect(generate).not.toHaveAttribute("data-stale");
  await expect(report).not.toHaveAttribute("data-stale");
  await expect(report).toHaveAttribute("data-state", "done");
  await expect(list.locator('[data-cell="train"]')).toHaveAttribute("data-state", "done");
});

test("an experiment is renamed and deleted", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  await api.quickStart("Before");
  await list.reload();
  await hydrated(list);
  await list.getByRole("button", { name: "Rename “Before”" }).click();
  const rename = list.getByRole("dialog", { name: "Rename the experiment" });
  await rename.getByLabel("Name").fill("After");
  await rename.getByRole("button", { name: "Rename" }).click();
  await expect(list.getByRole("link", { name: "After" })).toBeVisible();
  await list.getByRole("button", { name: "Delete “After”" }).click();
  await list.getByRole("dialog", { name: "Delete this experiment?" }).getByRole("button", { name: "Delete" }).click();
  await expect(list.getByRole("link", { name: "After" })).toHaveCount(0);
  await list.reload();
  await expect(list.getByRole("link", { name: "After" })).toHaveCount(0);
});

test("the first page of an empty data folder holds the quick start", async ({ list }) => {
  await expect(list.getByRole("link", { name: "Quick start" })).toBeVisible();
});
