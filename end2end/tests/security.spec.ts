// Text stays text: whatever people, files and models write, nothing of it runs; and strangers get nothing.

import type { Page } from "@playwright/test";
import { Api, cellOf } from "./api.ts";
import { connected, expect, hydrated, test } from "./test.ts";

declare global {
  interface Window {
    ran?: string[];
    violations?: string[];
  }
}

const payloads = [
  "<script>window.ran.push('script')</script>",
  "</script><script>window.ran.push('closed script')</script>",
  "</textarea><script>window.ran.push('closed textarea')</script>",
  "</title></style></noscript><script>window.ran.push('closed others')</script>",
  "<img src=x onerror=\"window.ran.push('image')\">",
  "<svg onload=\"window.ran.push('svg')\">",
  "\"><input autofocus onfocus=\"window.ran.push('attribute')\">",
  "' onmouseover='window.ran.push(1)' x='",
  "<iframe srcdoc=\"<script>parent.ran.push('frame')</script>\"></iframe>",
  "[click](javascript:window.ran.push('link'))",
  "<a href=\"javascript:window.ran.push('href')\">link</a>",
  "<!--><script>window.ran.push('comment')</script>",
  "]]></script><script>window.ran.push('cdata')</script>",
  "\u2028<script>window.ran.push('line separator')</script>",
  "{{constructor.constructor('window.ran.push(1)')()}}",
  "</title><meta http-equiv=refresh content='0;url=/elsewhere'><h1 id=injected>Sign in</h1><title>",
  "<math><mtext></p><style><img src=x onerror=\"window.ran.push('mutation')\">",
];

const closesTitle = payloads.find((payload) => payload.includes("http-equiv"))!;

test("scripts in names, notes, rows and pairs are shown and never run", async ({ page, server }) => {
  await page.addInitScript(() => {
    window.ran = [];
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations?.push(`${event.violatedDirective}: ${event.blockedURI}`));
  });
  page.on("dialog", (dialog) => void dialog.dismiss());
  await page.goto(server.link);
  await hydrated(page);

  const api = new Api(page.request, server.origin);
  const all = payloads.join(" ");
  const wordy = " This row has more words than the pair rule asks for.";
  const rows = payloads.map((payload) => JSON.stringify({ instruction: payload + wordy, response: `${payload} As an answer.${wordy}` }));
  const file = await api.upload(`${payloads[4]}.jsonl`, rows.join("\n"));
  const experiment = await api.quickStart(payloads[0]!, {
    data: { file, validation_split: 0.2 },
    generate: { file, limit: payloads.length, max_new_tokens: 6 },
    note: { text: all },
    report: { title: closesTitle, summary: all, data_notice: all },
  });
  await api.call("rename_experiment", { experiment: experiment.id, name: closesTitle });

  await page.goto(`${server.origin}/`);
  await hydrated(page);
  await expect(page.getByText(closesTitle).first()).toBeVisible();
  await harmless(page, "the list");

  await page.goto(`${server.origin}/experiments/${experiment.id}`);
  await connected(page);
  await harmless(page, "the notebook before");
  const done = await api.finish(experiment.id);
  await expect(page.locator('[data-cell="report"]')).toHaveAttribute("data-state", "done");
  await harmless(page, "the notebook, live");
  await page.reload();
  await connected(page);
  await expect(page.locator('[data-cell="note"]').first()).toContainText("closed textarea");
  await harmless(page, "the notebook, rendered by the server");

  const report = cellOf(done, "report").run!.run;
  for (const path of [`/reports/${report}`, await api.share(report)]) {
    await page.goto(server.origin + path);
    await hydrated(page);
    await expect(page.locator("[data-pair]").first()).toContainText("window.ran.push");
    await harmless(page, path);
  }
});

test("without the link there is no page, no command and no socket", async ({ browser, server }) => {
  const stranger = await browser.newContext();
  for (const path of ["/", "/experiments/1", "/reports/1"]) {
    const answer = await stranger.request.get(server.origin + path, { maxRedirects: 0 });
    expect(answer.status(), path).toBe(401);
  }
  for (const name of ["open_experiments", "create_experiment", "get_notebook", "run_all", "list_pairs", "share_report", "list_models"]) {
    const answer = await stranger.request.post(`${server.origin}/api/${name}`, { data: {}, headers: { Origin: server.origin } });
    expect(answer.status(), name).toBe(401);
  }
  const upload = await stranger.request.post(`${server.origin}/upload?name=x`, { data: "x", headers: { Origin: server.origin } });
  expect(upload.status(), "upload").toBe(401);
  await stranger.close();
});

test("another site's request changes nothing, even with the cookie", async ({ list, server }) => {
  const api = new Api(list.request, server.origin);
  const before = await api.call<{ experiments: unknown[] }>("open_experiments", {});
  for (const origin of ["http://evil.example", "null", `http://localhost:${server.port + 1}`]) {
    const answer = await list.request.post(`${server.origin}/api/create_experiment`, {
      data: { name: "theirs", preset: "empty", key: "k" },
      headers: { Origin: origin },
    });
    expect(answer.status(), origin).toBe(403);
  }
  const forged = await list.request.get(`${server.origin}/`, { headers: { Host: "evil.example" } });
  expect(forged.status()).toBe(403);
  const after = await api.call<{ experiments: unknown[] }>("open_experiments", {});
  expect(after.experiments).toHaveLength(before.experiments.length);
});

test("a share link that was never made, or is revoked, opens nothing", async ({ list, server, browser }) => {
  const api = new Api(list.request, server.origin);
  const experiment = await api.quickStart("Shared once");
  const report = cellOf(await api.finish(experiment.id), "report").run!.run;
  const path = await api.share(report);
  const stranger = await browser.newContext();
  expect((await stranger.request.get(server.origin + path)).status()).toBe(200);
  const last = path.at(-1) === "A" ? "B" : "A";
  expect((await stranger.request.get(server.origin + path.slice(0, -1) + last)).status()).toBe(404);

  const [link] = await api.call<{ id: number }[]>("list_shares", { run: report });
  await api.call("revoke_share", { share: link!.id });
  expect((await stranger.request.get(server.origin + path)).status()).toBe(404);
  await stranger.close();
});

async function harmless(page: Page, where: string): Promise<void> {
  await expect(page.locator("#injected"), `markup on ${where}`).toHaveCount(0);
  await expect(page.locator('meta[http-equiv="refresh"]'), `a redirect on ${where}`).toHaveCount(0);
  if (where !== "the list") expect(await page.title(), `the title of ${where}`).toContain(closesTitle);
  const [ran, violations] = await page.evaluate(() => [window.ran, window.violations]);
  expect(ran, `scripts that ran on ${where}`).toEqual([]);
  expect(violations, `breaches of the content security policy on ${where}`).toEqual([]);
}
