// How a client suite written in JavaScript names its cases and tells what came of them: as cases.py does for Python.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

export const env = process.env;
export const ROOT_URL = env.BASE_URL.replace(/\/v1$/, "");

/** Of an installed package; its own file may not be exported. */
export function versionOf(name) {
  let folder = createRequire(import.meta.url).resolve(name);
  for (;;) {
    folder = folder.slice(0, folder.lastIndexOf("/"));
    try {
      const about = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
      if (about.name === name) return about.version;
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
  }
}

export class Cases {
  #cases = new Map();

  constructor(client, version) {
    tell({ client, version });
  }

  case(name, body) {
    if (this.#cases.has(name)) throw new Error(`two cases are named ${name}`);
    this.#cases.set(name, body);
  }

  /** Once to a provider of OpenAI's dialect, and once to one of Anthropic's. */
  eachModel(name, body) {
    this.case(name, () => body(env.MODEL));
    if (env.CROSS_MODEL) this.case(`${name}, at Anthropic's`, () => body(env.CROSS_MODEL));
  }

  async main() {
    const wanted = process.argv.slice(2);
    for (const [name, body] of this.#cases) {
      if (wanted.length && !wanted.some((text) => name.includes(text))) continue;
      try {
        await body();
        tell({ case: name, ok: true });
      } catch (error) {
        const text = `${error?.constructor?.name ?? ""}: ${error?.message ?? error}`;
        tell({ case: name, ok: false, error: text.split(/\s+/).join(" ").slice(0, 400) });
      }
    }
  }
}

function tell(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
