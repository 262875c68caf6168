// Rendered on the server first: what there is to read can be read without scripts.

import { Api, cellOf } from "./api.ts";
import { expect, test } from "./test.ts";

test.use({ javaScriptEnabled: false });

test("the list, a notebook and a report can be read without scripts", async ({ page, server, complaints }) => {
  complaints.expect(/was preloaded using link preload but not used/); // the scripts' files, which nobody runs here
  await page.goto(server.link);
  await expect(page).toHaveURL(`${server.origin}/`); // the token is gone from the address
  const api = new Api(page.request, server.origin);
  const experiment = await api.quickStart("Read without scripts");
  const done = await api.finish(experiment.id);

  await page.reload();
  await expect(page.getByRole("link", { name: "Read without scripts" })).toBeVisible();

  await page.goto(`${server.origin}/experiments/${experiment.id}`);
  await expect(page.locator('[data-cell="train"]')).toHaveAttribute("data-state", "done");
  await expect(page.locator('[data-cell="train"] [data-chart="loss"]')).toHaveAttribute("data-points", "6");

  const report = cellOf(done, "report").run!.run;
  await page.goto(`${server.origin}/reports/${report}`);
  await expect(page.locator("[data-pair]")).toHaveCount(4);
  await page.goto(server.origin + (await api.share(report)));
  await expect(page.locator("[data-pair]")).toHaveCount(4);
});
