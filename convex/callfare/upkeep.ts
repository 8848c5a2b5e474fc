// The operator's side: an empty ledger takes rows as they are, and raw usage is dropped by age.
import { v } from "convex/values";
import { env, internalMutation, internalQuery } from "../_generated/server";
import { fillingLedger, stateOf, wholeLedger } from "./state";
import { SCHEMA, TABLES, type TableName } from "./tables";
import { fail, fieldsOf, key, tableNamed, type Value, value } from "./values";
import { Desk, docUnder } from "./writing";

const DROPPED_MAX = 1000;
const NAMES = Object.keys(TABLES) as TableName[];

// Has a source begin to fill an empty ledger, or finds how far it has come: returns its mark.
export const begin = internalMutation({
  args: { source: v.string() },
  returns: v.string(),
  handler: async (ctx, { source }) => {
    const state = await stateOf(ctx);
    if (state !== null && state.source !== null) {
      if (state.source !== source || state.schema !== SCHEMA) fail("other_source", "another source has begun");
      return state.mark;
    }
    for (const name of NAMES) {
      if ((await ctx.db.query(name).first()) !== null) fail("not_empty", "the ledger has rows");
    }
    if (state !== null) await ctx.db.patch(state._id, { source, mark: "", by: "" });
    else await ctx.db.insert("ledgerState", { schema: SCHEMA, source, mark: "", by: "" });
    return "";
  },
});

// Adds rows as they are and notes how far the source has come.
export const put = internalMutation({
  args: {
    rows: v.array(v.object({ table: v.string(), values: v.array(value) })),
    mark: v.string(),
    next: v.string(),
    by: v.string(),
  },
  returns: v.null(),
  handler: async (ctx, { rows, mark, next, by }) => {
    // Sent again, because the answer was lost: it is done.
    const found = await stateOf(ctx);
    if (found !== null && found.by === by && found.mark === next) return null;
    const state = await fillingLedger(ctx, mark);
    const desk = new Desk(ctx, true);
    // No key is looked up: the ledger was empty, and the mark says that these rows come for the first time.
    for (const { table, values } of rows) await desk.insert(tableNamed(table), values);
    await desk.show((name) => rows.filter(({ table }) => table === name).map(({ values }) => fieldsOf(name, values)));
    await ctx.db.patch(state._id, { mark: next, by });
    return null;
  },
});

export const finish = internalMutation({
  args: { mark: v.string(), by: v.string() },
  returns: v.null(),
  handler: async (ctx, { mark, by }) => {
    const found = await stateOf(ctx);
    if (found !== null && found.by === by && found.source === null) return null;
    const state = await fillingLedger(ctx, mark);
    await ctx.db.patch(state._id, { source: null, mark: "", by });
    return null;
  },
});

// Drops some of what a source has put; returns whether there is more. Nothing of a ledger that is whole is dropped.
export const drop = internalMutation({
  args: {},
  returns: v.boolean(),
  handler: async (ctx) => {
    const state = await stateOf(ctx);
    if (state === null || state.source === null) return false;
    // No source goes on with what is half gone.
    await ctx.db.patch(state._id, { source: "", mark: "", by: "" });
    let left = DROPPED_MAX;
    for (const name of NAMES) {
      const docs = await ctx.db.query(name).take(left);
      for (const { _id } of docs) await ctx.db.delete(_id);
      left -= docs.length;
      if (left === 0) return true;
    }
    await ctx.db.delete(state._id);
    return false;
  },
});

// Drops some of everything, whole or not; returns whether there is more. Only where the deployment says of itself that it
// is there to be thrown away: for the suite of all stores, and for nobody else.
export const wipe = internalMutation({
  args: {},
  returns: v.boolean(),
  handler: async (ctx) => {
    if (env.CALLFARE_CONVEX_THROWAWAY !== "yes") fail("not_throwaway", "the deployment is not there to be thrown away");
    let left = DROPPED_MAX;
    for (const name of [...NAMES, "earlierRows", "readings", "ledgerState"] as const) {
      const docs = await ctx.db.query(name).take(left);
      for (const { _id } of docs) await ctx.db.delete(_id);
      left -= docs.length;
      if (left === 0) return true;
    }
    return false;
  },
});

// Removes raw usage recorded before an instant, and notes in the same transaction that such may be missing. Returns
// how many there were, or null when what was noted before is no longer what the client has seen.
export const dropRaw = internalMutation({
  args: { keys: v.array(key), beforeUs: v.int64(), noted: v.array(value), was: v.union(v.int64(), v.null()) },
  returns: v.union(v.int64(), v.null()),
  handler: async (ctx, { keys, beforeUs, noted, was }) => {
    await wholeLedger(ctx);
    const desk = new Desk(ctx);
    const before = await desk.find("retention", noted as Value[]);
    if ((before?.seal ?? null) !== was) return null;
    if (before === null) await desk.insert("retention", noted);
    else await desk.replace("retention", noted, before);
    let dropped = 0n;
    for (const named of keys) {
      const doc = await docUnder(ctx, "rawUsage", named);
      if (doc !== null && (doc.recordedAtUs as bigint) < beforeUs) {
        await desk.remove("rawUsage", doc);
        dropped += 1n;
      }
    }
    return dropped;
  },
});

// Whether a ledger could be filled: a look before, which changes nothing.
export const emptiness = internalQuery({
  args: {},
  returns: v.boolean(),
  handler: async (ctx) => {
    for (const name of NAMES) {
      if ((await ctx.db.query(name).first()) !== null) return false;
    }
    return true;
  },
});
