// Prepares what a test is not about, through the commands that the page sends too.

import { type APIRequestContext, expect } from "@playwright/test";
import { randomUUID } from "node:crypto";

export interface Cell {
  id: number;
  config: { kind: string } & Record<string, unknown>;
  run: { run: number; state: string; error: { code: string; message: string } | null } | null;
}

export interface Notebook {
  id: number;
  name: string;
  cells: Cell[];
}

export class Api {
  /** `request` must be signed in: a page's own, after it opened the server's link. */
  constructor(
    private readonly request: APIRequestContext,
    private readonly origin: string,
  ) {}

  async call<T>(name: string, body: object): Promise<T> {
    const answer = await this.request.post(`${this.origin}/api/${name}`, { data: body, headers: { Origin: this.origin } });
    expect(answer.ok(), `${name}: ${answer.status()} ${await answer.text()}`).toBe(true);
    return (await answer.json()) as T;
  }

  /** A notebook of the quick start's cells on the tiny model; `settings` are laid over the cells of their kind. */
  async quickStart(name: string, settings: Record<string, object> = {}): Promise<Notebook> {
    const experiment = await this.call<number>("create_experiment", { name, preset: "quick_start", key: randomUUID() });
    const model = await this.tinyModel();
    const small: Record<string, object> = {
      model: { model },
      generate: { limit: 4, max_new_tokens: 12 },
      ...settings,
      train: { samples: 1, ...(settings.train ?? { max_steps: 6 }) },
    };
    for (const cell of (await this.notebook(experiment)).cells) {
      const over = small[cell.config.kind];
      if (over) await this.save(cell.id, over);
    }
    return this.notebook(experiment);
  }

  /** Changes these settings of a cell. */
  async save(cell: number, settings: object): Promise<void> {
    const changes = flat("", settings);
    await this.call("save_cell", { cell, changes, client: randomUUID(), number: 1 });
  }

  async notebook(experiment: number): Promise<Notebook> {
    return this.call<Notebook>("get_notebook", { experiment });
  }

  async runAll(experiment: number): Promise<Notebook> {
    return this.call<Notebook>("run_all", { experiment, key: randomUUID() });
  }

  /** Runs every cell and waits until the last one is done. */
  async finish(experiment: number): Promise<Notebook> {
    await this.runAll(experiment);
    let notebook = await this.notebook(experiment);
    await expect(async () => {
      notebook = await this.notebook(experiment);
      const states = notebook.cells.filter((cell) => cell.config.kind !== "note").map((cell) => cell.run?.state ?? "fresh");
      const failed = notebook.cells.map((cell) => cell.run?.error?.message).filter((message) => message);
      expect(states, failed.join("; ")).toEqual(states.map(() => "done"));
    }).toPass({ timeout: 60_000 });
    return notebook;
  }

  /** Id of the model that the server was started with. */
  async tinyModel(): Promise<string> {
    const models = await this.call<{ id: string; present: boolean }[]>("list_models", {});
    const present = models.filter((model) => model.present).map((model) => model.id);
    expect(present, "the tiny model is the only one that is there").toHaveLength(1);
    return present[0]!;
  }

  /** Puts a file on the server; gives its id. */
  async upload(name: string, text: string): Promise<string> {
    const answer = await this.request.post(`${this.origin}/upload?name=${encodeURIComponent(name)}`, {
      data: Buffer.from(text),
      headers: { Origin: this.origin, "Content-Type": "application/octet-stream" },
    });
    expect(answer.ok(), `upload: ${answer.status()} ${await answer.text()}`).toBe(true);
    return ((await answer.json()) as { id: string }).id;
  }

  /** Makes a link to a report; gives its path. */
  async share(run: number): Promise<string> {
    return (await this.call<{ path: string }>("share_report", { run })).path;
  }
}

/** Each setting's dotted name, and its value as text: lists with commas, nothing for null. */
function flat(prefix: string, settings: object): [string, string][] {
  return Object.entries(settings).flatMap(([name, value]) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? flat(`${prefix}${name}.`, value)
      : [[prefix + name, String(value ?? "")] satisfies [string, string]],
  );
}

/** The cell of this kind. */
export function cellOf(notebook: Notebook, kind: string): Cell {
  const cell = notebook.cells.find((cell) => cell.config.kind === kind);
  if (!cell) throw new Error(`the notebook has no ${kind} cell`);
  return cell;
}
