// The report: its filter with and without scripts, and the same report as a file without a server.

import { type Page } from "@playwright/test";
import { writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { report, shownRows } from "./four-texts.ts";
import { expect, hydrated, test } from "./test.ts";

async function byLength(page: Page): Promise<string[]> {
  const rows = page.locator("#pair-list > li");
  const words = await rows.evaluateAll((all) =>
    all.map((row) => ({ id: row.id, words: Number(/(\d+) words?/.exec(row.querySelector("details small")!.textContent!)![1]) })),
  );
  return words.sort((a, b) => a.words - b.words || a.id.localeCompare(b.id)).map((row) => row.id);
}

async function filtersByForm(page: Page): Promise<void> {
  const expected = await byLength(page);
  const form = page.locator("#pair-filter");
  await form.getByLabel("Sort by").selectOption("length_ascending");
  await form.getByRole("button", { name: "Show" }).click();
  await expect(page).toHaveURL(/sort=length_ascending/);
  await expect(page.locator("#pair-list > li")).toHaveCount(4);
  expect(await shownRows(page)).toEqual(expected);
  await expect(form.getByLabel("Sort by")).toHaveValue("length_ascending");
  await form.getByLabel("Search").fill("in a cold place");
  await form.getByRole("button", { name: "Show" }).click();
  await expect(page.locator("#pair-count")).toHaveText("1 of 4 pairs match");
  expect(await shownRows(page)).toEqual(["row-3"]);
  await page.getByRole("link", { name: "Row 3" }).click();
  await expect(page).toHaveURL(/\?row=3#row-3$/);
  await expect(page.locator("#row-3 details")).toHaveAttribute("open");
  await expect(page.locator("#row-1 details")).not.toHaveAttribute("open");
  await expect(page.locator("#row-3")).toBeInViewport();
}

test("the report's filter is in the address, and a row's link opens it", async ({ page, server }) => {
  const run = await report(page, server);
  await page.goto(`${server.origin}/reports/${run}`);
  await hydrated(page);
  await filtersByForm(page);
  await hydrated(page);
  await page.getByRole("link", { name: "Back to the notebook" }).click();
  await expect(page.locator('[data-cell="report"]')).toBeVisible();
});

test.describe("without scripts", () => {
  test.use({ javaScriptEnabled: false });

  test("the report's filter works", async ({ page, server, complaints }) => {
    complaints.expect(/was preloaded using link preload but not used/);
    const run = await report(page, server);
    await page.goto(`${server.origin}/reports/${run}`);
    await filtersByForm(page);
  });
});

test("the offline report opens from the disk, filters, sorts, searches and opens rows", async ({ page, server, context }, information) => {
  const run = await report(page, server);
  const answer = await page.request.get(`${server.origin}/reports/${run}/offline.html`);
  expect(answer.ok()).toBe(true);
  const file = information.outputPath("report.html");
  await writeFile(file, await answer.body());
  const address = pathToFileURL(file).href;

  const said: string[] = [];
  const requests: string[] = [];
  const own = await context.newPage();
  own.on("console", (message) => said.push(message.text()));
  own.on("pageerror", (error) => said.push(String(error)));
  own.on("request", (request) => requests.push(request.url()));
  own.on("dialog", (dialog) => said.push(`dialog: ${dialog.message()}`));
  await own.goto(address);
  await expect(own.locator("#pair-list > li")).toHaveCount(4);
  await expect(own.locator("#pair-count")).toHaveText("4 pairs");
  await expect(own.locator('[data-chart="loss"] path.smooth')).toHaveAttribute("d", /^M/);

  const form = own.locator("#pair-filter");
  const expected = await byLength(own);
  await form.getByLabel("Sort by").selectOption("length_ascending");
  expect(await shownRows(own)).toEqual(expected);
  expect(new URL(own.url()).hash).toBe("#sort=length_ascending");
  await form.getByLabel("Search").fill("PENDULUM");
  await expect(own.locator("#pair-count")).toHaveText("1 of 4 pairs match");
  expect(await shownRows(own)).toEqual(["row-4"]);
  await expect.poll(() => new URL(own.url()).hash).toBe("#text=PENDULUM&sort=length_ascending");

  // A reload and a copy of the address show the same.
  await own.reload();
  await expect(own.locator("#pair-count")).toHaveText("1 of 4 pairs match");
  await expect(form.getByLabel("Search")).toHaveValue("PENDULUM");

  await own.getByRole("link", { name: "Row 4" }).click();
  await expect(own.locator("#row-4 details")).toHaveAttribute("open");
  await form.getByRole("button", { name: "Show all" }).click();
  await expect(own.locator("#pair-count")).toHaveText("4 pairs");
  await form.getByLabel("Failure tag").selectOption("none");
  const untagged = await own.locator("#pair-list > li:not([data-tags])").count();
  expect(await shownRows(own)).toHaveLength(untagged);

  // A link to a row that the filter hides shows it all the same.
  await form.getByLabel("Failure tag").selectOption("");
  await form.getByLabel("Search").fill("pendulum");
  await expect(own.locator("#row-2")).toBeHidden();
  await own.evaluate(() => (location.hash = "#row-2"));
  await expect(own.locator("#row-2")).toBeInViewport();
  await expect(own.locator("#row-2 > p").last()).toContainText("</script><img src=x onerror=alert(1)>");

  expect(said).toEqual([]);
  expect(requests.filter((url) => url.split("#")[0] !== address)).toEqual([]);
  // Nothing but the one script runs.
  expect(await own.evaluate(() => document.scripts.length)).toBe(1);
});
