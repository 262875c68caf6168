// An offline report at its largest, opened from the disk.

import { type Page } from "@playwright/test";
import { writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { Api, cellOf } from "./api.ts";
import { expect, test } from "./test.ts";
import { type Server } from "./server.ts";

// A trace would copy the whole document at every step, which takes minutes; Chromium alone opens it in seconds.
test.use({ trace: "off", screenshot: "off" });

const texts = [
  ["apples", "Apples grow on trees, and people press them into cider in the autumn of each year."],
  ["hostile", "Some texts hold </script><img src=x onerror=alert(1)> and other markup, which stays a text everywhere."],
  ["bread", "Bread needs flour, water, salt and time; the dough rises slowly in a cold place overnight."],
  ["clocks", "Clocks with a pendulum run slower in summer, since heat makes the rod a little longer."],
] as const;

/** The run of a report on the four texts above. */
async function report(page: Page, server: Server): Promise<number> {
  await page.goto(server.link);
  const api = new Api(page.request, server.origin);
  const rows = texts.map(([id, response]) => JSON.stringify({ id, response, instruction: `Tell me about ${id}, please.` }));
  const file = await api.upload("four.jsonl", rows.join("\n"));
  const experiment = await api.quickStart("Four texts", { generate: { file, limit: "", max_new_tokens: 12 } });
  return cellOf(await api.finish(experiment.id), "report").run!.run;
}

const shownRows = (page: Page) => page.locator("#pair-list > li:visible").evaluateAll((rows) => rows.map((row) => row.id));

test("the offline report of 5,000 pairs is filtered within a moment", async ({ page, server, context }, information) => {
  const run = await report(page, server);
  const answer = await page.request.get(`${server.origin}/reports/${run}/offline.html`);
  const html = await answer.text();
  const [, before, list, rest] = /^(.*?)(<ol [^>]*id="pair-list"[^>]*>)(.*)$/s.exec(html)!;
  // Items hold no list of this kind, but lists of their own.
  const end = rest!.indexOf("</ol>");
  const first = rest!.slice(0, rest!.indexOf('<li id="row-2"'));
  const many = Array.from({ length: 5_000 }, (_, at) => first.replaceAll("row-1", `row-${at + 1}`).replaceAll("Apples", `Apples${at}`));
  const file = information.outputPath("many.html");
  await writeFile(file, `${before}${list}${many.join("")}${rest!.slice(end)}`);
  const own = await context.newPage();
  await own.goto(pathToFileURL(file).href);
  await expect(own.locator("#pair-count")).toHaveText("5000 pairs");
  const search = own.locator("#pair-filter").getByLabel("Search");
  const began = Date.now();
  await search.fill("apples4321 ");
  await expect(own.locator("#pair-count")).toHaveText("1 of 5000 pairs match");
  expect(Date.now() - began).toBeLessThan(3_000);
  expect(await shownRows(own)).toEqual(["row-4322"]);
});
