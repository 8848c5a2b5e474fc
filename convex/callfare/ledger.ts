// The ledger itself: reading rows, and the one function that writes a batch. Decides nothing: callfare decides, and
// this makes sure that what it decided on still stands. All of it is internal; `door.ts` is the way in.
import { v } from "convex/values";
import { internalMutation, internalQuery } from "../_generated/server";
import { Budget, range, rowsIn } from "./ranges";
import { checkRow, checkTransfers } from "./rules";
import { stateOf, wholeLedger } from "./state";
import { SCHEMA, TABLES } from "./tables";
import { fail, fieldsOf, nowUs, tableNamed, type Value, value, valuesOf } from "./values";
import { Desk } from "./writing";

const answer = v.object({ rows: v.array(v.array(value)), isDone: v.boolean() });

// The rows of some ranges, all as of one instant. An answer that is not done goes on after its last row.
export const select = internalQuery({
  args: { ranges: v.array(range), nowUs: v.union(v.int64(), v.null()), isFilling: v.boolean() },
  returns: v.object({ nowUs: v.int64(), answers: v.array(answer) }),
  handler: async (ctx, { ranges, nowUs: given, isFilling }) => {
    if (!isFilling) await wholeLedger(ctx);
    const now = given ?? nowUs();
    const budget = new Budget();
    const answers: { rows: Value[][]; isDone: boolean }[] = [];
    for (const asked of ranges) {
      if (budget.isSpent()) {
        answers.push({ rows: [], isDone: false });
        continue;
      }
      const bound = asked.now === null ? {} : { [asked.now]: [now] };
      const { docs, isDone } = await rowsIn(ctx, { ...asked, ...bound }, budget);
      const table = tableNamed(asked.table);
      answers.push({ rows: docs.map((doc) => valuesOf(table, doc)), isDone });
    }
    return { nowUs: now, answers };
  },
});

// What was read: a range, and the seals of the rows that were found in it.
const check = v.object({ range, seals: v.array(v.int64()) });
// A row to write, and the seal of the one that it takes the place of: null where there must be none.
const write = v.object({ table: v.string(), values: v.array(value), was: v.union(v.int64(), v.null()), isGone: v.boolean() });

type Write = typeof write.type;

// Whether every row of a batch stands as it was to be written: a seal is a digest of all of a row.
async function areThere(desk: Desk, writes: Write[]): Promise<boolean> {
  for (const { table, values, isGone } of writes) {
    const doc = await desk.find(tableNamed(table), values);
    if (isGone ? doc !== null : doc?.seal !== values[values.length - 1]) return false;
  }
  return writes.length > 0;
}

// Writes the rows of a batch when all that was read for it still stands and nothing new stands where nothing was.
// Returns false, having written nothing, where that is not so. A batch may be sent twice, since an answer can be lost: the
// second finds what the first has written, or what others have made of it.
export const apply = internalMutation({
  args: { checks: v.array(check), writes: v.array(write) },
  returns: v.boolean(),
  handler: async (ctx, { checks, writes }) => {
    await wholeLedger(ctx);
    const desk = new Desk(ctx);
    const everything = new Budget(Number.MAX_SAFE_INTEGER);
    for (const { range: asked, seals } of checks) {
      const { docs } = await rowsIn(ctx, { ...asked, limit: asked.limit || BigInt(seals.length + 1) }, everything);
      for (const doc of docs) desk.know(tableNamed(asked.table), doc);
      if (docs.length !== seals.length || docs.some((doc, place) => doc.seal !== seals[place])) {
        return await areThere(desk, writes);
      }
    }
    const found = [];
    for (const { table, values, was } of writes) {
      const doc = await desk.find(tableNamed(table), values);
      if ((doc?.seal ?? null) !== was) return await areThere(desk, writes);
      found.push(doc);
    }
    const rows = (name: string) => writes.filter(({ table, isGone }) => table === name && !isGone);
    const fields = (name: string) => rows(name).map(({ values }) => fieldsOf(tableNamed(name), values));
    checkTransfers(fields("transactions"), fields("entries"));
    for (const grant of fields("grants")) desk.lotIsMade(grant);
    for (const [place, { table: name, values, isGone }] of writes.entries()) {
      const [table, doc] = [tableNamed(name), found[place]];
      if (doc !== null && TABLES[table].isHistory) fail("rule", `${table} are history: nothing of them is changed`);
      if (!isGone) checkRow(table, fieldsOf(table, values));
      if (doc === null && isGone) fail("misused", `${table}: what is not there cannot go`);
      if (doc === null) await desk.insert(table, values);
      else if (isGone) await desk.remove(table, doc);
      else await desk.replace(table, values, doc);
    }
    await desk.show(fields);
    return true;
  },
});

// Makes the ledger where there is none; returns whether it was made just now.
export const create = internalMutation({
  args: { by: v.string() },
  returns: v.boolean(),
  handler: async (ctx, { by }) => {
    const state = await stateOf(ctx);
    if (state === null) await ctx.db.insert("ledgerState", { schema: SCHEMA, source: null, mark: "", by });
    const { by: maker } = await wholeLedger(ctx);
    return state === null || maker === by;
  },
});

// The ledger's schema, null where there is no ledger.
export const schema = internalQuery({
  args: {},
  returns: v.union(v.int64(), v.null()),
  handler: async (ctx) => {
    const state = await stateOf(ctx);
    if (state !== null && state.source !== null) fail("incomplete", "the ledger is being filled");
    return state === null ? null : state.schema;
  },
});

// Brings the ledger to the schema of the functions. Documents have it already: they were checked when it was deployed.
export const migrate = internalMutation({
  args: {},
  returns: v.int64(),
  handler: async (ctx) => {
    const state = await stateOf(ctx);
    if (state === null) fail("not_found", "the deployment holds no ledger");
    if (state.source !== null) fail("incomplete", "the ledger is being filled");
    if (state.schema > SCHEMA) fail("schema", "the ledger has a newer schema than the functions", state.schema);
    if (state.schema < SCHEMA) await ctx.db.patch(state._id, { schema: SCHEMA });
    return state.schema;
  },
});
