// The keyboard's place is never lost: what was pressed keeps the focus, or something sensible gets it.

import type { Locator, Page } from "@playwright/test";
import { Api } from "./api.ts";
import { connected, expect, hydrated, test } from "./test.ts";

test("the skip link leads past the head of the page", async ({ list }) => {
  await list.keyboard.press("Tab");
  await expect(list.getByRole("link", { name: "Skip to the content" })).toBeFocused();
  await list.keyboard.press("Enter");
  await list.keyboard.press("Tab");
  await expect(list.getByRole("button", { name: "New experiment" })).toBeFocused();
});

test("Run, Stop, Move, Delete and Create keep the focus", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Focus", { train: { epochs: 1000, samples: 0 } });
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);
  const train = list.locator('[data-cell="train"]');

  await press(list, train.getByRole("button", { name: "Run", exact: true }));
  const stop = train.getByRole("button", { name: "Stop", exact: true });
  await expect(train).toHaveAttribute("data-state", "running");
  await expect(stop).toBeFocused();
  // Without a step there is nothing to resume.
  await expect(train.locator('[data-chart="loss"]')).toHaveAttribute("data-points", /^([3-9]|\d\d+)$/);
  await list.keyboard.press("Enter");
  const asked = list.getByRole("dialog", { name: "Stop this run?" });
  await press(list, asked.getByRole("button", { name: "Stop and save" }));
  await expect(train).toHaveAttribute("data-state", "stopped");
  await expect(train.getByRole("button", { name: "Resume" })).toBeFocused();

  const up = train.getByRole("button", { name: "Move Train up" });
  await press(list, up);
  await expect(up).toBeFocused();

  await press(list, train.getByRole("button", { name: "Delete Train" }));
  await press(list, list.getByRole("dialog", { name: "Delete the Train cell?" }).getByRole("button", { name: "Delete" }));
  await expect(train).toHaveCount(0);
  await expect.poll(() => focused(list)).toMatch(/^SECTION/);

  await press(list, list.getByRole("link", { name: "Backtranslate" }));
  await hydrated(list);
  await press(list, list.getByRole("button", { name: "New experiment" }));
  await list.getByRole("dialog").getByRole("radio", { name: /Empty/ }).check();
  await press(list, list.getByRole("button", { name: "Create" }));
  await expect(list).toHaveURL(/\/experiments\/\d+/);
  await expect.poll(() => focused(list)).toBe("MAIN");
});

test("Run beside Resume asks before saved steps are set aside", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Asked", { train: { epochs: 1000, samples: 0 } });
  await list.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(list);
  const train = list.locator('[data-cell="train"]');
  await train.getByRole("button", { name: "Run", exact: true }).click();
  await expect(train.locator('[data-chart="loss"]')).toHaveAttribute("data-points", /^([3-9]|\d\d+)$/);
  await train.getByRole("button", { name: "Stop", exact: true }).click();
  await list.getByRole("button", { name: "Stop and save" }).click();
  await expect(train).toHaveAttribute("data-state", "stopped");
  await expect(train.getByRole("button", { name: "Resume" })).toBeVisible();
  await train.getByRole("button", { name: "Run", exact: true }).click();
  const asked = list.getByRole("dialog", { name: "Run from the beginning?" });
  await expect(asked).toContainText(/\d+ training steps/);
  await asked.getByRole("button", { name: "Cancel" }).click();
  await expect(train.getByRole("button", { name: "Resume" })).toBeVisible();
});

async function press(page: Page, button: Locator): Promise<void> {
  await button.focus();
  await page.keyboard.press("Enter");
}

async function focused(page: Page): Promise<string> {
  return page.evaluate(() => document.activeElement?.tagName ?? "");
}
