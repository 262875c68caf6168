// An offline report at its largest, opened from the disk.

import { writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { report, shownRows } from "./four-texts.ts";
import { expect, test } from "./test.ts";

// A trace would copy the whole document at every step, which takes minutes; Chromium alone opens it in seconds.
test.use({ trace: "off", screenshot: "off" });

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
