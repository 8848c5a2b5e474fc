// Loads convex-test with our functions, as one bundle in memory, and gives its database indexes that are indexes.
//
// convex-test goes through every document for every query. Here a query of an index looks in a sorted list instead, and
// with CALLFARE_BRIDGE_CHECK=1 each answer is compared with convex-test's own.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../../", import.meta.url));
// Where the functions are: as a rule those of this checkout.
const functions = process.env.CALLFARE_FUNCTIONS ?? join(root, "convex");

const DOCUMENT_BYTES_MAX = 1024 * 1024;

// What the functions did in the database since the bridge began.
export const count = { documentsRead: 0, documentsWritten: 0, ranges: 0, bytesRead: 0, bytesWritten: 0 };

const DISCARDING = `
import { makeFunctionReference, mutationGeneric } from "convex/server";
import { v } from "convex/values";
export const discard = mutationGeneric({
  args: { path: v.string(), args: v.any() },
  handler: async (ctx, { path, args }) => {
    await ctx.runMutation(makeFunctionReference(path), args).catch(() => undefined);
    throw new Error("discarded, to be run again");
  },
});`;

// convex-test keeps its database to itself; nothing else of it is changed.
const opened = {
  name: "opened",
  setup({ onLoad }) {
    onLoad({ filter: /convex-test\/dist\/index\.js$/ }, async ({ path }) => ({
      contents: `${await readFile(path, "utf8")}\nexport { DatabaseFake };`,
      loader: "js",
    }));
  },
};

export async function loaded() {
  const folder = mkdtempSync(join(tmpdir(), "callfare-bridge-"));
  const files = readdirSync(join(functions, "callfare")).filter((name) => name.endsWith(".ts"));
  const names = files.map((name) => name.slice(0, -3));
  const entry = `
    import schema from "${functions}/schema.ts";
    ${names.map((name, place) => `import * as module${place} from "${functions}/callfare/${name}.ts";`).join("\n")}
    import * as discarding from "callfare-discarding";
    export { compareValues, jsonToConvex } from "convex/values";
    export { convexTest, DatabaseFake } from "convex-test";
    export { TransactionMetricsTracker } from "${root}node_modules/convex-test/dist/transactionMetrics.js";
    export { schema };
    export const modules = {
      "../convex/_generated/api.js": async () => ({}),
      "../convex/testing/discarding.ts": async () => discarding,
      ${names.map((name, place) => `"../convex/callfare/${name}.ts": async () => module${place},`).join("\n")}
    };`;
  const ours = {
    name: "ours",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^callfare-discarding$/ }, ({ path }) => ({ path, namespace: "ours" }));
      onLoad({ filter: /.*/, namespace: "ours" }, () => ({ contents: DISCARDING, loader: "js", resolveDir: root }));
    },
  };
  const outfile = join(folder, "bundle.mjs");
  await build({ stdin: { contents: entry, resolveDir: root, loader: "ts" }, bundle: true, platform: "node", format: "esm", outfile, nodePaths: [join(root, "node_modules")], plugins: [opened, ours], logLevel: "error" });
  try {
    const bundle = await import(pathToFileURL(outfile).href);
    countWhatIsDone(bundle.TransactionMetricsTracker.prototype);
    giveIndexes(bundle);
    return { ...bundle, Discarded: "discarded, to be run again" };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function countWhatIsDone(tracker) {
  const { trackRead, trackWrite, trackIndexRange } = tracker;
  tracker.trackRead = function (size) {
    count.documentsRead += 1;
    count.bytesRead += size;
    return trackRead.call(this, size);
  };
  tracker.trackWrite = function (size) {
    count.documentsWritten += 1;
    count.bytesWritten += size;
    // convex-test leaves this one out.
    if (size > DOCUMENT_BYTES_MAX) throw new Error(`Value is too large (${size} bytes > maximum size 1 MiB)`);
    return trackWrite.call(this, size);
  };
  tracker.trackIndexRange = function () {
    count.ranges += 1;
    return trackIndexRange.call(this);
  };
}

function giveIndexes({ DatabaseFake, compareValues, jsonToConvex }) {
  const database = DatabaseFake.prototype;
  const { commit, startTransaction, _resolveQuerySource: resolve } = database;

  const compare = (fields) => (one, other) => {
    for (const field of fields) {
      const order = compareValues(one[field], other[field]);
      if (order !== 0) return order;
    }
    return 0;
  };

  // The first place in a sorted list of which the test no longer holds.
  const place = (list, isBefore) => {
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(list[middle])) low = middle + 1;
      else high = middle;
    }
    return low;
  };

  database.startTransaction = function () {
    // Nothing of an earlier transaction is read any more.
    if (this._writes.length === 0) this._queryResults = {};
    return startTransaction.call(this);
  };

  // A list of all rows is not moved up by one for each that is read.
  database.startQuery = function (query) {
    const id = this._nextQueryId;
    this._nextQueryId += 1;
    this._queryResults[id] = { docs: this._evaluateQuery(query), at: 0 };
    return id;
  };

  database.queryNext = function (id) {
    const results = this._queryResults[id];
    if (results === undefined) throw new Error("Bad queryId");
    if (results.at >= results.docs.length) return { value: null, done: true };
    results.at += 1;
    return { value: results.docs[results.at - 1], done: false };
  };

  database.commit = function (commitTs) {
    if (this._writes.length === 1) {
      for (const [id, write] of Object.entries(this._writes[0])) move(this, id, this._documents[id] ?? null, write);
    }
    return commit.call(this, commitTs);
  };

  function move(self, id, before, after) {
    const table = id.replace(/^[0-9]+/, "");
    self._ids ??= new Map();
    if (!self._ids.has(table)) self._ids.set(table, new Set());
    if (after === null) self._ids.get(table).delete(id);
    else self._ids.get(table).add(id);
    for (const { fields, list } of self._lists?.get(table)?.values() ?? []) {
      const order = compare(fields);
      if (before !== null) {
        const at = place(list, (doc) => order(doc, before) < 0);
        list.splice(at, 1);
      }
      if (after !== null) {
        const at = place(list, (doc) => order(doc, after) < 0);
        list.splice(at, 0, after);
      }
    }
  }

  function listOf(self, table, index) {
    self._lists ??= new Map();
    if (!self._lists.has(table)) self._lists.set(table, new Map());
    const lists = self._lists.get(table);
    if (!lists.has(index)) {
      const { fields } = self._schema.tables.get(table).indexes.find(({ indexDescriptor }) => indexDescriptor === index);
      const all = [...fields, "_creationTime", "_id"];
      const list = [...(self._ids?.get(table) ?? [])].map((id) => self._documents[id]).sort(compare(all));
      lists.set(index, { fields: all, list });
    }
    return lists.get(index);
  }

  const tests = {
    Eq: (order) => order === 0,
    Gt: (order) => order > 0,
    Gte: (order) => order >= 0,
    Lt: (order) => order < 0,
    Lte: (order) => order <= 0,
  };

  database._iterateDocs = function (table, callback) {
    const ids = new Set(this._ids?.get(table) ?? []);
    for (const writes of this._writes) {
      for (const id of Object.keys(writes)) if (id.replace(/^[0-9]+/, "") === table) ids.add(id);
    }
    for (const id of ids) {
      const doc = this.get(table, id);
      if (doc !== null) callback(doc);
    }
  };

  database._resolveQuerySource = function (query) {
    const { source } = query;
    const [table, index] = source.type === "IndexRange" ? source.indexName.split(".") : ["", ""];
    const isOurs = index !== "" && !index.startsWith("by_") && !query.operators.some((one) => "filter" in one);
    if (!isOurs) return resolve.call(this, query);
    const { fields, list } = listOf(this, table, index);
    const range = source.range.map(({ type, fieldPath, value }) => ({ type, field: fieldPath, value: "$undefined" in Object(value) ? undefined : jsonToConvex(value) }));
    const lies = (doc) => range.every(({ type, field, value }) => tests[type](compareValues(doc[field], value)));
    const isBelow = (doc) => range.some(({ type, field, value }) => {
      const order = compareValues(doc[field], value);
      return type === "Eq" || type === "Gte" ? order < 0 : type === "Gt" ? order <= 0 : false;
    });
    const eqs = range.filter(({ type }) => type === "Eq");
    const others = range.filter(({ type }) => type !== "Eq");
    // Where a document stands before the range: by the first field of the index in which it differs.
    const before = (doc) => {
      for (const { field, value } of eqs) {
        const order = compareValues(doc[field], value);
        if (order !== 0) return order < 0;
      }
      return isBelow.call(null, doc) && others.length > 0;
    };
    const through = (doc) => {
      for (const { field, value } of eqs) {
        const order = compareValues(doc[field], value);
        if (order !== 0) return order < 0;
      }
      return others.every(({ type, field, value }) => {
        const order = compareValues(doc[field], value);
        return type === "Lt" ? order < 0 : type === "Lte" ? order <= 0 : true;
      });
    };
    let found = list.slice(place(list, before), place(list, through));
    const pending = new Map();
    for (const writes of this._writes) {
      for (const [id, write] of Object.entries(writes)) if (id.replace(/^[0-9]+/, "") === table) pending.set(id, write);
    }
    if (pending.size) {
      found = found.filter(({ _id }) => !pending.has(_id));
      for (const write of pending.values()) if (write !== null && lies(write)) found.push(write);
      found.sort(compare(fields));
    }
    const order = source.order ?? "asc";
    if (order === "desc") found.reverse();
    const limit = query.operators.find((one) => "limit" in one)?.limit ?? null;
    const answer = { sortedDocs: found, filterFn: () => true, limit, fieldPathsToSortBy: fields, order };
    if (process.env.CALLFARE_BRIDGE_CHECK) compareWith(resolve.call(this, query), answer, source);
    return answer;
  };

  function compareWith(theirs, ours, source) {
    const ids = ({ sortedDocs }) => JSON.stringify(sortedDocs.map(({ _id }) => _id));
    if (ids(theirs) !== ids(ours)) throw new Error(`the bridge's index differs: ${JSON.stringify(source)}`);
  }
}
