// A report on four texts, for the tests of reports.

import { type Page } from "@playwright/test";
import { Api, cellOf } from "./api.ts";
import { type Server } from "./server.ts";

const texts = [
  ["apples", "Apples grow on trees, and people press them into cider in the autumn of each year."],
  ["hostile", "Some texts hold </script><img src=x onerror=alert(1)> and other markup, which stays a text everywhere."],
  ["bread", "Bread needs flour, water, salt and time; the dough rises slowly in a cold place overnight."],
  ["clocks", "Clocks with a pendulum run slower in summer, since heat makes the rod a little longer."],
] as const;

/** The run of a report on the four texts above. */
export async function report(page: Page, server: Server): Promise<number> {
  await page.goto(server.link);
  const api = new Api(page.request, server.origin);
  const rows = texts.map(([id, response]) => JSON.stringify({ id, response, instruction: `Tell me about ${id}, please.` }));
  const file = await api.upload("four.jsonl", rows.join("\n"));
  const experiment = await api.quickStart("Four texts", { generate: { file, limit: "", max_new_tokens: 12 } });
  return cellOf(await api.finish(experiment.id), "report").run!.run;
}

export const shownRows = (page: Page) => page.locator("#pair-list > li:visible").evaluateAll((rows) => rows.map((row) => row.id));
