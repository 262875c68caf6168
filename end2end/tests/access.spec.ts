// Everyone can use every page: axe finds nothing in any state, in both themes, and 360 px are enough.

import { AxeBuilder } from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { Api, cellOf } from "./api.ts";
import { connected, expect, hydrated, test } from "./test.ts";

for (const theme of ["light", "dark"] as const) {
  test.describe(`${theme} theme`, () => {
    test.use({ colorScheme: theme });

    test("the list, a notebook that is fresh, running and done, its report and the shared one pass axe", async ({ list, server }) => {
      const api = new Api(list.request, server.origin);
      await check(list, "the list");

      const experiment = await api.quickStart("Access", { train: { epochs: 1000, samples: 0 } });
      await list.goto(`${server.origin}/experiments/${experiment.id}`);
      await connected(list);
      await check(list, "a fresh notebook");

      await api.runAll(experiment.id);
      await expect(list.locator('[data-cell="train"]')).toHaveAttribute("data-state", "running");
      await expect(list.locator('[data-cell="train"] [data-chart="loss"]')).toHaveAttribute("data-points", /^([3-9]|\d\d+)$/);
      await check(list, "a running notebook");

      const train = cellOf(await api.notebook(experiment.id), "train");
      await api.call("stop_run", { run: train.run!.run, mode: "save" });
      await expect(list.locator('[data-cell="train"]')).toHaveAttribute("data-state", "stopped");
      await check(list, "a stopped notebook");

      await api.save(train.id, { epochs: 1 });
      const done = await api.finish(experiment.id);
      await list.reload();
      await connected(list);
      await check(list, "a finished notebook");

      const report = cellOf(done, "report").run!.run;
      await list.goto(`${server.origin}/reports/${report}`);
      await hydrated(list);
      await check(list, "a report");

      await list.goto(server.origin + (await api.share(report)));
      await hydrated(list);
      await check(list, "a shared report");
    });
  });
}

/** Axe at the desk's width, and no sideways scrolling on a phone's. */
async function check(page: Page, where: string): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" | ")}`);
  expect.soft(told, `axe on ${where}`).toEqual([]);

  const desk = page.viewportSize();
  await page.setViewportSize({ width: 360, height: 740 });
  const wide = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    // What sticks out of the page, save inside boxes that scroll by themselves.
    const scrolls = (element: Element | null): boolean =>
      element !== null && element !== document.body && (/auto|scroll|hidden/.test(getComputedStyle(element).overflowX) || scrolls(element.parentElement));
    const out = [...document.body.querySelectorAll("*")].filter((element) => element.getBoundingClientRect().right > width + 1 && !scrolls(element.parentElement));
    return document.documentElement.scrollWidth > width ? [`scrolls to ${document.documentElement.scrollWidth} px`, ...out.slice(0, 3).map((element) => element.outerHTML.slice(0, 120))] : [];
  });
  expect.soft(wide, `${where} at 360 px`).toEqual([]);
  if (desk) await page.setViewportSize(desk);
}
