// Chromium only, an installed one. Each test starts the built server itself, on a port and a data folder of its own.

import { defineConfig, devices } from "@playwright/test";

const asRoot = process.getuid?.() === 0;

export default defineConfig({
  testDir: "tests",
  // Pictures for the README are taken on demand; they prove nothing.
  testIgnore: process.env.SCREENSHOTS ? [] : ["screenshots.spec.ts"],
  timeout: 120_000,
  expect: { timeout: 15_000 },
  forbidOnly: !!process.env.CI,
  workers: 2,
  reporter: [["list"]],
  // A picture and a trace of what failed, in test-results.
  use: {
    ...devices["Desktop Chrome"],
    screenshot: "only-on-failure",
    trace: "retain-on-failure",
    launchOptions: {
      executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
      // Chromium's sandbox refuses to run as root.
      args: [
        ...(asRoot ? ["--no-sandbox"] : []),
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
      ],
    },
  },
});
