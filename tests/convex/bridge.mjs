// Serves Convex's HTTP function API on convex-test, for tests: our real functions, validators, transactions and limits.
// It is not Convex: one function runs at a time, nothing lasts, and conflicts happen only when a test asks for them.
//
//   node tests/convex/bridge.mjs          prints {"port": …}; ends when its standard input is closed
//
// The first part of the path names a ledger of its own: POST /NAME/api/query, /NAME/api/mutation. What a test may ask for
// comes as POST /NAME/control: {dropAnswers, refuse, conflict, discard} are numbers of mutations to come; {dropEvery, refuseEvery,
// conflictEvery, discardEvery} take each so many-th; {forget: true} drops the ledger. The answer has what was counted since
// the last time.
// POST /NAME/documents {table} answers with all documents of a table; {table, patch} changes the fields of each before.
import { createServer } from "node:http";
import { convexToJson, jsonToConvex } from "convex/values";
import { count, loaded } from "./loading.mjs";

const MUTATION_S_MAX = 1;
const { convexTest, schema, modules, Discarded } = await loaded();
process.env.CALLFARE_CONVEX_SECRET ??= "a secret of the bridge alone";

class Ledger {
  knobs = { dropAnswers: 0, refuse: 0, conflict: 0, discard: 0, conflictEvery: 0, dropEvery: 0, refuseEvery: 0, discardEvery: 0 };
  seen = {};
  turns = {};
  test = convexTest({ schema, modules, transactionLimits: true });

  note(name, amount = 1) {
    this.seen[name] = (this.seen[name] ?? 0) + amount;
  }

  // Whether one of the mutations to come is to be treated so.
  takes(knob) {
    if (this.knobs[knob] <= 0) return false;
    this.knobs[knob] -= 1;
    return true;
  }

  // The same, or whether it is time for one of each so many.
  is(knob, every) {
    this.turns[every] = (this.turns[every] ?? 0) + 1;
    return this.takes(knob) || (this.knobs[every] > 0 && this.turns[every] % this.knobs[every] === 0);
  }
}

const ledgers = new Map();

// As the real server prints them: a number that is no integer of 64 bits always has a fraction.
function printed(value) {
  if (typeof value === "number") return Number.isInteger(value) ? value.toFixed(1) : String(value);
  if (Array.isArray(value)) return `[${value.map(printed).join(",")}]`;
  if (value !== null && typeof value === "object") {
    return `{${Object.entries(value).map(([name, part]) => `${JSON.stringify(name)}:${printed(part)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

async function functionAt(kind, path) {
  const [file, name] = path.split(":");
  const found = await modules[`../convex/${file}.ts`]?.();
  const wanted = found?.[name];
  const isKind = kind === "query" ? wanted?.isQuery : wanted?.isMutation;
  if (!isKind || !wanted.isPublic) {
    throw new Error(`Could not find public function for '${path}'. Did you forget to run \`npx convex dev\`?`);
  }
  return wanted;
}

async function run(ledger, kind, path, args, subject) {
  await functionAt(kind, path);
  const test = subject === null ? ledger.test : ledger.test.withIdentity({ subject });
  const before = { ...count };
  const began = process.cpuUsage();
  try {
    if (kind === "query") return await test.query(path, args);
    if (ledger.is("discard", "discardEvery")) {
      await test.mutation("testing/discarding:discard", { path, args }).catch((error) => {
        if (error.message !== Discarded) throw error;
      });
      ledger.note("discarded");
    }
    return await test.mutation(path, args);
  } finally {
    const { user, system } = process.cpuUsage(began);
    ledger.note(kind === "query" ? "queries" : "mutations");
    for (const name of Object.keys(count)) {
      ledger.note(`${kind}.${name}`, count[name] - before[name]);
      const most = `${kind}.most.${name}`;
      ledger.seen[most] = Math.max(ledger.seen[most] ?? 0, count[name] - before[name]);
    }
    ledger.seen.longestMutationS = Math.max(ledger.seen.longestMutationS ?? 0, kind === "mutation" ? (user + system) / 1e6 : 0);
  }
}

async function answered(ledger, kind, body, subject) {
  const { path, args, format } = body;
  if (format !== "convex_encoded_json" || !Array.isArray(args)) return { status: 400, told: { code: "BadRequest" } };
  if (kind === "mutation" && ledger.is("refuse", "refuseEvery")) {
    ledger.note("refused");
    return { status: 503, told: { code: "ServiceUnavailable" } };
  }
  if (kind === "mutation" && ledger.is("conflict", "conflictEvery")) {
    ledger.note("conflicts");
    return { status: 503, told: { code: "OptimisticConcurrencyControlFailure" } };
  }
  try {
    const value = await run(ledger, kind, path, jsonToConvex(args[0]), subject);
    return { status: 200, told: { status: "success", value: convexToJson(value), logLines: [] } };
  } catch (error) {
    const told = { status: "error", errorMessage: String(error.message), logLines: [] };
    if (error.data !== undefined) told.errorData = convexToJson(error.data);
    return { status: 560, told };
  }
}

function documents(ledger, { table, patch }) {
  return ledger.test.run(async ({ db }) => {
    for (const { _id } of patch ? await db.query(table).collect() : []) await db.patch(_id, jsonToConvex(patch));
    return await db.query(table).collect();
  });
}

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString("utf8"));
}

async function handle(request, response) {
  const [, name, area, kind] = request.url.split("/");
  if (!ledgers.has(name)) ledgers.set(name, new Ledger());
  const ledger = ledgers.get(name);
  const body = await read(request);
  if (area === "control") {
    Object.assign(ledger.knobs, body.knobs ?? {});
    response.end(JSON.stringify(ledger.seen));
    ledger.seen = {};
    if (body.forget) ledgers.delete(name);
    return;
  }
  if (area === "documents") {
    response.end(printed(convexToJson(await documents(ledger, body))));
    return;
  }
  const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? "");
  const isMutation = kind === "mutation";
  const { status, told } = await answered(ledger, isMutation ? kind : "query", body, bearer ? bearer[1] : null);
  if (isMutation && status === 200 && ledger.is("dropAnswers", "dropEvery")) {
    ledger.note("dropped");
    request.socket.destroy();
    return;
  }
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(printed(told));
}

const server = createServer((request, response) => {
  handle(request, response).catch((error) => {
    response.writeHead(500);
    response.end(JSON.stringify({ code: "BridgeFailed", message: String(error.stack) }));
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port, longestMutationS: MUTATION_S_MAX })));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
