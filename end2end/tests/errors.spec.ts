// Errors that a person can act on: each says what is wrong, where, and what to do.

import { randomUUID } from "node:crypto";
import type { Locator, Page } from "@playwright/test";
import { Api, cellOf } from "./api.ts";
import { connected, expect, test } from "./test.ts";

test("a malformed line is told with its line and field, and the rest is kept", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const good = (number: number) =>
    JSON.stringify({ instruction: `Please write the sentence that has the number ${number}.`, response: `Here is the sentence that has the number ${number}.` });
  const lines = [good(1), "{broken", good(3), JSON.stringify({ instruction: "Please write the number of this sentence." }), good(5), good(6)];
  const experiment = await api.quickStart("Malformed");
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);

  const data = cell(list, "data");
  await data.locator('input[type="file"]').setInputFiles({ name: "pairs.jsonl", mimeType: "application/jsonl", buffer: Buffer.from(lines.join("\n")) });
  await expect(data.getByRole("status").filter({ hasText: "pairs.jsonl" })).toHaveText("pairs.jsonl: uploaded and selected.");
  await data.getByRole("button", { name: "Run", exact: true }).click();
  await expect(data).toHaveAttribute("data-state", "done");
  await data.getByText("2 malformed rows").click();
  const malformed = data.getByRole("region", { name: "Malformed rows" }).getByRole("row");
  await expect(malformed.nth(1)).toContainText("2");
  await expect(malformed.nth(2)).toContainText("4");
  await expect(malformed.nth(2)).toContainText("response");
});

test("a file that holds no rows fails with what was expected", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const file = await api.upload("noise.jsonl", "\u0000\u0001 not rows\n".repeat(20));
  const experiment = await api.quickStart("Noise", { data: { file } });
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);
  await cell(list, "data").getByRole("button", { name: "Run", exact: true }).click();
  await expect(cell(list, "data")).toHaveAttribute("data-state", "failed");
  await expect(cell(list, "data").getByRole("alert")).toContainText("noise.jsonl");
});

test("a model that is not there is named, and what depends on it does not run", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Missing", { model: { model: "no-such-model" } });
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);
  await list.getByRole("button", { name: "Run all" }).click();
  await expect(cell(list, "model")).toHaveAttribute("data-state", "failed");
  await expect(cell(list, "model").getByRole("alert")).toContainText("no-such-model");
  await expect(cell(list, "train")).not.toHaveAttribute("data-state", /running|done/);
});

test("a value that a setting does not accept is refused with its range, and is not saved", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Refused");
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);
  const rank = cell(list, "train").locator('[name="rank"]');
  await rank.fill("0");
  await expect(cell(list, "train").getByRole("alert")).toContainText("from 1 to 1024");
  const answer = await list.request.post(`${server.origin}/api/save_cell`, {
    data: { cell: cellOf(experiment, "train").id, changes: [["rank", "0"]], client: randomUUID(), number: 1 },
    headers: { Origin: server.origin },
  });
  expect(answer.status()).toBe(422);
  expect((await answer.json()).message).toContain("rank is 0");
  expect(cellOf(await api.notebook(experiment.id), "train").config.rank).toBe(16);
});

test("a lost connection is shown, and found again", async ({ list, server, complaints }) => {
  complaints.expect(/ERR_CONNECTION|WebSocket connection|fetch/i);
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Lost");
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);
  await server.kill();
  await expect(list.locator("html")).not.toHaveAttribute("data-socket", "open");
  await expect(list.getByText(/connection/i).first()).toBeVisible();
  await server.restart();
  await connected(list);
  await list.getByRole("button", { name: "Run all" }).click();
  await expect(cell(list, "report")).toHaveAttribute("data-state", "done", { timeout: 60_000 });
});

test("a full queue says so", async ({ list, server, complaints }) => {
  complaints.expect(/429/);
  const api = new Api(list.request, server.origin);
  const busy = await api.quickStart("Busy", { train: { epochs: 1000, samples: 0 } });
  await api.runAll(busy.id);
  let refused = { code: "", message: "" };
  for (let number = 0; number < 100 && !refused.code; number++) {
    const experiment = await api.quickStart(`Waiting ${number}`);
    const answer = await list.request.post(`${server.origin}/api/run_all`, {
      data: { experiment: experiment.id, key: randomUUID() },
      headers: { Origin: server.origin },
    });
    if (!answer.ok()) refused = await answer.json();
  }
  expect(refused.code).toBe("queue_full");
  expect(refused.message).toMatch(/\d+/);
  const train = cellOf(await api.notebook(busy.id), "train");
  await api.call("stop_run", { run: train.run!.run, mode: "discard" });
});

function cell(page: Page, kind: string): Locator {
  return page.locator(`[data-cell="${kind}"]`);
}
