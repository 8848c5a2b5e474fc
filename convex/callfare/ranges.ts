// Reading rows between two places of an index, a bounded number of them. No function collects a whole table.
import { v } from "convex/values";
import type { QueryCtx } from "../_generated/server";
import { TABLES, type TableName } from "./tables";
import { type AnyDoc, fail, tableNamed, type Value, value } from "./values";

// Rows whose index begins with `eq`, between `low` and `high`, each the first values of what follows in the index;
// an empty one bounds nothing. `now`: which bound is the present instant, when it is not known before.
export const range = v.object({
  table: v.string(),
  index: v.string(),
  eq: v.array(value),
  low: v.array(value),
  isLowIn: v.boolean(),
  high: v.array(value),
  isHighIn: v.boolean(),
  isDescending: v.boolean(),
  now: v.union(v.literal("low"), v.literal("high"), v.null()),
  limit: v.int64(),
});

export type Range = typeof range.type;

// What one call may read, well below what Convex allows a transaction: 32,000 documents and 16 MiB.
export class Budget {
  private bytes = 4 * 1024 * 1024;

  constructor(private rows = 2000) {
    if (rows > 2000) this.bytes = rows;
  }

  take(doc: AnyDoc): void {
    this.rows -= 1;
    for (const part of Object.values(doc)) this.bytes -= typeof part === "string" ? part.length + 2 : 9;
  }

  isSpent(): boolean {
    return this.rows <= 0 || this.bytes <= 0;
  }
}

// Between two places of an index lie several ranges of Convex, in each of which all but one field are fixed.
type Piece = { eq: Value[]; lower: Value | undefined; isLowerIn: boolean; upper: Value | undefined; isUpperIn: boolean };

function piecesOf(asked: Range): Piece[] {
  let { eq, low, high } = asked;
  while (low.length > 1 && high.length > 1 && low[0] === high[0]) {
    eq = [...eq, low[0]];
    low = low.slice(1);
    high = high.slice(1);
  }
  const pieces: Piece[] = [];
  for (let size = low.length - 1; size > 0; size -= 1) {
    const isLowerIn = asked.isLowIn && size === low.length - 1;
    pieces.push({ eq: [...eq, ...low.slice(0, size)], lower: low[size], isLowerIn, upper: undefined, isUpperIn: false });
  }
  pieces.push({
    eq,
    lower: low[0],
    isLowerIn: asked.isLowIn && low.length === 1,
    upper: high[0],
    isUpperIn: asked.isHighIn && high.length === 1,
  });
  for (let size = 1; size < high.length; size += 1) {
    const isUpperIn = asked.isHighIn && size === high.length - 1;
    pieces.push({ eq: [...eq, ...high.slice(0, size)], lower: undefined, isLowerIn: false, upper: high[size], isUpperIn });
  }
  return asked.isDescending ? pieces.reverse() : pieces;
}

// The rows of a range in the order of its index; done when there are no more that were asked for.
export async function rowsIn(
  ctx: QueryCtx,
  asked: Range,
  budget: Budget,
): Promise<{ docs: AnyDoc[]; isDone: boolean }> {
  const table = tableNamed(asked.table);
  const docs: AnyDoc[] = [];
  for (const piece of piecesOf(asked)) {
    for await (const doc of queryOf(ctx, table, asked, piece)) {
      docs.push(doc);
      budget.take(doc);
      if (BigInt(docs.length) === asked.limit) return { docs, isDone: true };
      if (budget.isSpent()) return { docs, isDone: false };
    }
  }
  return { docs, isDone: true };
}

function queryOf(ctx: QueryCtx, table: TableName, asked: Range, piece: Piece): AsyncIterable<AnyDoc> {
  const indexes: Record<string, readonly string[]> = TABLES[table].indexes;
  if (!Object.hasOwn(indexes, asked.index)) fail("misused", `${table} has no index ${asked.index}`);
  const fields = indexes[asked.index];
  // Which table and index it is shows when this runs, so their types are of no help here.
  const query: any = ctx.db.query(table);
  return query
    .withIndex(asked.index, (bound: any) => {
      piece.eq.forEach((part, place) => {
        bound = bound.eq(fields[place], part);
      });
      const field = fields[piece.eq.length];
      if (piece.lower !== undefined) bound = piece.isLowerIn ? bound.gte(field, piece.lower) : bound.gt(field, piece.lower);
      if (piece.upper !== undefined) bound = piece.isUpperIn ? bound.lte(field, piece.upper) : bound.lt(field, piece.upper);
      return bound;
    })
    .order(asked.isDescending ? "desc" : "asc");
}
