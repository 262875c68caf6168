// The run bar: what is computed stays in view, can be stopped from there, and its end is told.

import { Api } from "./api.ts";
import { connected, expect, test } from "./test.ts";

test("the bar follows a run from the top of the page to its report", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Bar", { train: { max_steps: 300, epochs: 20 } });
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);
  const bar = list.getByRole("region", { name: "Run", exact: true });
  await expect(bar).toHaveCount(0);
  await list.getByRole("button", { name: "Run all" }).click();
  await expect(bar).toBeInViewport();
  await expect(bar.locator('.chip[aria-current="step"]')).toContainText("Train");
  await expect(bar).toContainText(/Train \d+ of 300/);
  await expect(list).toHaveTitle(/^Train( \d+ %)? · Bar/);
  await list.evaluate(() => window.scrollTo(0, document.body.scrollHeight / 2));
  await expect(bar).toBeInViewport();
  await bar.getByRole("button", { name: "Show the cell" }).click();
  await expect(list.locator('[data-cell="train"]')).toBeInViewport();
  await expect(bar).toContainText("Done: the report is ready.", { timeout: 60_000 });
  await expect(list).toHaveTitle(/^Bar/);
  await expect(bar.locator('.chip[data-state="done"]')).toHaveCount(6);
  await bar.getByRole("link", { name: "Open the report" }).click();
  await expect(list).toHaveURL(/\/reports\/\d+/);
});

test("a run is stopped from the bar, which says so until it is closed", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Stopped", { train: { max_steps: 20_000, epochs: 10_000 } });
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);
  const bar = list.getByRole("region", { name: "Run", exact: true });
  await list.getByRole("button", { name: "Run all" }).click();
  await expect(bar).toContainText(/Train [\d\u2009]+ of/);
  await bar.getByRole("button", { name: "Stop this run…" }).click();
  await list.getByRole("button", { name: "Stop and save" }).click();
  await expect(bar).toContainText("Train: stopped.", { timeout: 30_000 });
  await bar.getByRole("button", { name: "Close" }).click();
  await expect(bar).toHaveCount(0);
});
