// Reading whole tables: page by page, and all of them as they stood at one instant while others go on writing.
import { v } from "convex/values";
import { internalMutation, internalQuery } from "../_generated/server";
import { Budget, rowsIn } from "./ranges";
import { wholeLedger } from "./state";
import { TABLES } from "./tables";
import { fail, key, type Key, keyOf, nowUs, tableNamed, type Value, value, valuesOf } from "./values";

// How long a reading lasts that nobody goes on with.
const LIFE_US = 120_000_000n;
// Each makes every write dearer, and a batch leaves room for so many.
const READINGS_MAX = 3;
const PAGE_MAX = 500;
const EARLIER_MAX = 1000;
const COUNTED_MAX = 1000;
const DROPPED_MAX = 1000;

function after(table: string, low: Key, limit: number) {
  const nothing = { eq: [], high: [], isHighIn: false, isLowIn: false, isDescending: false, now: null };
  return { ...nothing, table, index: "byKey", low, limit: BigInt(limit) };
}

// Begins a reading, and clears away what ended ones have left.
export const begin = internalMutation({
  args: { name: v.string() },
  returns: v.null(),
  handler: async (ctx, { name }) => {
    await wholeLedger(ctx);
    const now = nowUs();
    const readings = await ctx.db.query("readings").collect();
    if (readings.some((reading) => reading.name === name)) return null;
    for (const { _id, name: ended, endsAtUs } of readings) {
      if (endsAtUs + LIFE_US < now && !(await clear(ctx, ended))) await ctx.db.delete(_id);
    }
    if (readings.filter(({ endsAtUs }) => endsAtUs >= now).length >= READINGS_MAX) {
      fail("busy", `${READINGS_MAX} readings of the whole ledger are under way`);
    }
    await ctx.db.insert("readings", { name, endsAtUs: nowUs() + LIFE_US });
    return null;
  },
});

// A page of a table in the order of its key, with the rows of the same stretch as they stood when the reading began.
export const page = internalQuery({
  args: { reading: v.string(), table: v.string(), low: key },
  returns: v.object({
    rows: v.array(v.array(value)),
    earlier: v.array(v.object({ key, values: v.union(v.array(value), v.null()) })),
    end: v.union(key, v.null()),
  }),
  handler: async (ctx, { reading, table: name, low }) => {
    await wholeLedger(ctx);
    const table = tableNamed(name);
    const under = await ctx.db
      .query("readings")
      .withIndex("byName", (bound) => bound.eq("name", reading))
      .unique();
    if (under === null || under.endsAtUs < nowUs()) fail("too_late", "the reading took a break for too long");
    const { docs, isDone } = await rowsIn(ctx, after(name, low, 0), new Budget(PAGE_MAX));
    const rows: Value[][] = docs.map((doc) => valuesOf(table, doc));
    let end: Key | null = isDone ? null : keyOf(table, rows[rows.length - 1]);
    const kept = await ctx.db
      .query("earlierRows")
      .withIndex("byKey", (bound) => {
        const from = bound.eq("reading", reading).eq("table", table).gt("key", low);
        return end === null ? from : from.lte("key", end);
      })
      .take(EARLIER_MAX);
    // Where more was changed than one page takes, it ends with what it took; the client drops what lies beyond.
    if (kept.length === EARLIER_MAX) end = kept[EARLIER_MAX - 1].key;
    return { rows, earlier: kept.map(({ key: of, values }) => ({ key: of, values })), end };
  },
});

export const renew = internalMutation({
  args: { name: v.string() },
  returns: v.null(),
  handler: async (ctx, { name }) => {
    const reading = await ctx.db
      .query("readings")
      .withIndex("byName", (bound) => bound.eq("name", name))
      .unique();
    if (reading === null || reading.endsAtUs < nowUs()) fail("too_late", "the reading took a break for too long");
    await ctx.db.patch(reading._id, { endsAtUs: nowUs() + LIFE_US });
    return null;
  },
});

// Ends a reading; returns whether something of it is still to be cleared away.
export const end = internalMutation({
  args: { name: v.string() },
  returns: v.boolean(),
  handler: async (ctx, { name }) => {
    const reading = await ctx.db
      .query("readings")
      .withIndex("byName", (bound) => bound.eq("name", name))
      .unique();
    if (reading !== null) await ctx.db.delete(reading._id);
    return await clear(ctx, name);
  },
});

async function clear(ctx: any, name: string): Promise<boolean> {
  const kept = await ctx.db
    .query("earlierRows")
    .withIndex("byKey", (bound: any) => bound.eq("reading", name))
    .take(DROPPED_MAX);
  for (const { _id } of kept) await ctx.db.delete(_id);
  return kept.length === DROPPED_MAX;
}

// How many rows a stretch of a table has, and where it ends; null at the end of the table.
export const count = internalQuery({
  args: { table: v.string(), low: key },
  returns: v.object({ count: v.int64(), end: v.union(key, v.null()) }),
  handler: async (ctx, { table: name, low }) => {
    await wholeLedger(ctx);
    const table = tableNamed(name);
    const { docs } = await rowsIn(ctx, after(name, low, COUNTED_MAX), new Budget());
    const { keySize } = TABLES[table];
    const last = docs.at(-1);
    const isLast = docs.length === 0 || last === undefined;
    return {
      count: BigInt(docs.length),
      end: isLast ? null : (valuesOf(table, last).slice(0, keySize) as Key),
    };
  },
});
