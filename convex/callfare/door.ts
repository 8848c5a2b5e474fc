// The one way into the ledger: a server that knows the secret calls these two. Everything else here is internal.
//
//   npx convex env set CALLFARE_CONVEX_SECRET <at least 24 characters>
//
// The secret opens the ledger and nothing else: unlike an admin key it cannot deploy code or read other tables.
import { v } from "convex/values";
import { internal } from "../_generated/api";
import { env, mutation, query } from "../_generated/server";
import { LAYOUT, SCHEMA } from "./tables";
import { fail } from "./values";

const SECRET_LENGTH_MIN = 24;
const READS = {
  select: internal.callfare.ledger.select,
  schema: internal.callfare.ledger.schema,
  page: internal.callfare.readings.page,
  count: internal.callfare.readings.count,
  emptiness: internal.callfare.upkeep.emptiness,
};
const WRITES = {
  apply: internal.callfare.ledger.apply,
  create: internal.callfare.ledger.create,
  migrate: internal.callfare.ledger.migrate,
  beginReading: internal.callfare.readings.begin,
  renewReading: internal.callfare.readings.renew,
  endReading: internal.callfare.readings.end,
  beginFilling: internal.callfare.upkeep.begin,
  put: internal.callfare.upkeep.put,
  finishFilling: internal.callfare.upkeep.finish,
  dropFilling: internal.callfare.upkeep.drop,
  wipe: internal.callfare.upkeep.wipe,
  dropRaw: internal.callfare.upkeep.dropRaw,
};

// `asked` differs with each question, so that no answer comes from a cache: the present instant is part of it.
export const read = query({
  args: { secret: v.string(), layout: v.string(), asked: v.string(), name: v.string(), args: v.any() },
  returns: v.any(),
  handler: async (ctx, { secret, layout, name, args }): Promise<unknown> => {
    open(secret, layout);
    if (!Object.hasOwn(READS, name)) fail("misused", `nothing is called ${name}`);
    return await ctx.runQuery(READS[name as keyof typeof READS] as never, args as never);
  },
});

export const write = mutation({
  args: { secret: v.string(), layout: v.string(), name: v.string(), args: v.any() },
  returns: v.any(),
  handler: async (ctx, { secret, layout, name, args }): Promise<unknown> => {
    open(secret, layout);
    if (!Object.hasOwn(WRITES, name)) fail("misused", `nothing is called ${name}`);
    return await ctx.runMutation(WRITES[name as keyof typeof WRITES] as never, args as never);
  },
});

function open(secret: string, layout: string): void {
  const wanted = env.CALLFARE_CONVEX_SECRET ?? "";
  if (wanted.length < SECRET_LENGTH_MIN) fail("secret_unset", "the deployment has no secret of 24 characters or more");
  if (!isSame(secret, wanted)) fail("unauthorized", "the secret is not the deployment's");
  if (layout !== LAYOUT) fail("layout", "the functions were deployed by another callfare", SCHEMA);
}

// Takes as long for a secret that is almost right as for one that is not: nobody can find it letter by letter.
function isSame(given: string, wanted: string): boolean {
  let difference = given.length ^ wanted.length;
  for (let place = 0; place < wanted.length; place += 1) {
    difference |= given.charCodeAt(place % (given.length || 1)) ^ wanted.charCodeAt(place);
  }
  return difference === 0;
}
