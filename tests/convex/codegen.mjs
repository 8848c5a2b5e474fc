// Writes convex/_generated as `npx convex codegen` does, which would ask a deployment: `node tests/convex/codegen.mjs`.
// The text comes from the templates of the pinned convex package. With --check it only says what differs.
import { readdirSync, readFileSync, writeFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../../", import.meta.url));
const templates = join(root, "node_modules/convex/src/cli/codegen_templates");

// Beside the templates stands the rest of the command line, of which nothing runs here: other packages are left out.
const alone = {
  name: "alone",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[^./]/ }, ({ path }) => ({ path, namespace: "left-out" }));
    onLoad({ filter: /.*/, namespace: "left-out" }, () => ({
      contents: "const any = new Proxy(function () {}, { get: (_, name) => (name === '__esModule' ? false : any), apply: () => any, construct: () => any }); module.exports = any;",
      loader: "js",
    }));
  },
};

async function loaded() {
  const folder = mkdtempSync(join(tmpdir(), "callfare-codegen-"));
  const entry = `
    export { apiCodegen } from "${templates}/api.ts";
    export { dynamicDataModelDTS } from "${templates}/dataModel.ts";
    export { serverCodegen } from "${templates}/server.ts";`;
  const outfile = join(folder, "templates.mjs");
  await build({
    stdin: { contents: entry, resolveDir: root, loader: "ts" },
    bundle: true,
    platform: "node",
    format: "esm",
    outfile,
    logLevel: "error",
    plugins: [alone],
  });
  try {
    return await import(pathToFileURL(outfile).href);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

// The templates lean on a formatter that is no part of this: lines lose their indentation of the template instead.
const tidy = (text) => text.split("\n").map((line) => line.trimEnd()).join("\n").replace(/^\s*\n/, "").trimEnd() + "\n";

const { apiCodegen, dynamicDataModelDTS, serverCodegen } = await loaded();
const modules = readdirSync(join(root, "convex/callfare"))
  .filter((name) => name.endsWith(".ts"))
  .sort()
  .map((name) => `callfare/${name}`);
const api = apiCodegen(modules);
const server = serverCodegen({ useTypeScript: false, envVars: undefined });
const files = {
  "api.d.ts": api.DTS,
  "api.js": api.JS,
  "dataModel.d.ts": dynamicDataModelDTS(),
  "server.d.ts": server.DTS,
  "server.js": server.JS,
};
let differences = 0;
for (const [name, text] of Object.entries(files)) {
  const path = join(root, "convex/_generated", name);
  if (process.argv.includes("--check")) {
    if (readFileSync(path, "utf8") !== tidy(text)) {
      console.log(`${name} is not current`);
      differences += 1;
    }
  } else {
    writeFileSync(path, tidy(text));
  }
}
process.exitCode = differences ? 1 : 0;
