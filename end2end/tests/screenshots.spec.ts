// The README's pictures; `cargo xtask screenshots` asks for them. Not a test.

import { resolve } from "node:path";
import { Api } from "./api.ts";
import { connected, test } from "./test.ts";

const images = resolve(import.meta.dirname, "../../docs/images");

test.skip(!process.env.SCREENSHOTS, "only for `cargo xtask screenshots`");

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme, viewport: { width: 1200, height: 900 }, deviceScaleFactor: 1 });

    test("the notebook", async ({ list, server }) => {
      const api = new Api(list.request, server.origin);
      const experiment = await api.quickStart("Quick start", { train: { max_steps: 200 }, generate: { limit: 12, max_new_tokens: 24 } });
      await api.finish(experiment.id);
      await list.goto(`${server.origin}/experiments/${experiment.id}`);
      await connected(list);
      await list.locator('[data-cell="train"]').scrollIntoViewIfNeeded();
      await list.screenshot({ path: `${images}/notebook-${colorScheme}.png` });
    });
  });
}
