// Downloads by the page's own forms: every shape in every type of file, opened; of a filter; of a shared report.

import { type Locator, type Page } from "@playwright/test";
import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { Api, cellOf } from "./api.ts";
import { connected, expect, hydrated, test } from "./test.ts";

/** Fields of a row beside `source_row` and `source_id`. */
const shapes: Record<string, string[]> = {
  pairs: ["instruction", "response", "generated", "tags", "baseline", "pmi"],
  alpaca: ["instruction", "input", "output"],
  sharegpt: ["conversations"],
  messages: ["messages"],
  prompt_completion: ["prompt", "completion"],
  preference: ["prompt", "chosen", "rejected"],
};

async function fetched(page: Page, place: Locator, shape: string, type: string): Promise<Buffer> {
  await place.getByLabel("Rows").selectOption(shape);
  await place.getByLabel("File type").selectOption(type);
  const [download] = await Promise.all([page.waitForEvent("download"), place.getByRole("button", { name: "Download" }).click()]);
  return readFile(await download.path());
}

function rows(file: Buffer): Record<string, unknown>[] {
  return file.toString("utf8").trim().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
}

test("every shape and type of file is downloaded from the cells and opens", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Files", { generate: { limit: 4, max_new_tokens: 12, candidates: 2, temperature: 1.5 } });
  await api.finish(experiment.id);
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);
  const form = list.locator('[data-cell="generate"] form.download');
  for (const [shape, fields] of Object.entries(shapes)) {
    const lines = rows(await fetched(list, form, shape, "jsonl"));
    expect(lines.length, shape).toBeGreaterThan(0);
    for (const line of lines) expect(Object.keys(line), shape).toEqual(expect.arrayContaining(["source_row", "source_id", ...fields]));
    const header = (await fetched(list, form, shape, "csv")).toString("utf8").replace(/^\uFEFF/, "").split(/\r?\n/)[0]!;
    for (const field of fields) expect(header.split(","), shape).toContain(field);
    const parquet = (await fetched(list, form, shape, "parquet")).toString("latin1");
    expect([parquet.slice(0, 4), parquet.slice(-4)], shape).toEqual(["PAR1", "PAR1"]);
  }
  const dataset = gunzipSync(await fetched(list, form, "messages", "dataset")).toString("latin1");
  for (const part of ["README.md", "data/train-00000-of-00001.parquet", "license", "configs:"]) expect(dataset).toContain(part);

  const review = list.getByRole("region", { name: "Decide on pairs" });
  await review.getByRole("listbox").focus();
  await list.keyboard.press("d");
  await list.keyboard.press("a");
  await expect(review).toContainText("1 kept, 1 dropped");
  await expect(review.getByRole("status").filter({ hasText: "sav" })).toHaveCount(0);
  const curated = list.locator('[data-cell="curate"] form.download');
  await curated.getByLabel("Kept pairs only").check();
  const kept = rows(await fetched(list, curated, "pairs", "jsonl"));
  expect(kept.map((row) => row.decision)).toContain("keep");
  expect(kept.every((row) => row.decision !== "drop" && row.kept === true)).toBe(true);
});

test("a reader of a shared report downloads the pairs that the filter shows", async ({ list, server, browser }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Shared files");
  const run = cellOf(await api.finish(experiment.id), "report").run!.run;
  const path = await api.share(run);
  const guest = await (await browser.newContext()).newPage();
  await guest.goto(`${server.origin}${path}?sort=length_ascending`);
  await hydrated(guest);
  const form = guest.locator("form.download");
  const all = rows(await fetched(guest, form, "pairs", "jsonl"));
  expect(all).toHaveLength(4);
  const word = /[a-z]{6,}/i.exec(String(all[0]!.response))![0];
  await guest.goto(`${server.origin}${path}?text=${word}`);
  await hydrated(guest);
  const some = rows(await fetched(guest, form, "pairs", "jsonl"));
  expect(some.length).toBeGreaterThan(0);
  for (const row of some) expect(JSON.stringify(row).toLowerCase()).toContain(word.toLowerCase());
  await guest.context().close();
});
