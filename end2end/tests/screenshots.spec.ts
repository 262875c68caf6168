// The README's picture; `cargo xtask screenshots` asks for it. Not a test.

import { resolve } from "node:path";
import { Api, cellOf } from "./api.ts";
import { connected, expect, test } from "./test.ts";

const images = resolve(import.meta.dirname, "../../docs/images");

test.use({ viewport: { width: 1100, height: 1000 } });

test("a notebook while it trains", async ({ list, server }) => {
  test.setTimeout(900_000);
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Quick start", { train: { samples: 1 } });
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);
  await api.runAll(experiment.id);
  const train = list.locator('[data-cell="train"]');
  await expect(train.locator('[data-chart="loss"]')).toHaveAttribute("data-points", /^(2\d|3\d)$/, { timeout: 800_000 });
  await train.scrollIntoViewIfNeeded();
  await list.evaluate(() => document.querySelector('[data-cell="train"]')?.scrollIntoView({ block: "start" }));
  await list.evaluate(() => window.scrollBy(0, -16));
  await list.screenshot({ path: `${images}/notebook.png` });
  const run = cellOf(await api.notebook(experiment.id), "train").run;
  if (run?.state === "running") await api.call("stop_run", { run: run.run, mode: "discard" });
});
