// What a signed-in person may see of their own billing, for front ends: `useQuery(api.callfare.billing.balance)`.
// Whose it is comes from the token alone; none of these takes a user. They keep themselves up to date, as queries of
// Convex do: they run again when a row they have read changes. Time that passes changes no row.
import { ConvexError, v } from "convex/values";
import { query, type QueryCtx } from "../_generated/server";
import { decimal, nowUs } from "./values";

const RUNS_MAX = 100;
const LOTS_MAX = 1000;
const ROLLUPS_MAX = 4000;
const DAY_US = 86_400_000_000n;
const PERIOD_US = { day: DAY_US, week: 7n * DAY_US, month: 30n * DAY_US };

// Whoever asks, null when they have no account yet.
async function whoAsks(ctx: QueryCtx) {
  const identity = await ctx.auth.getUserIdentity();
  if (identity === null) throw new ConvexError({ code: "unauthorized", message: "sign in first" });
  return await ctx.db
    .query("users")
    .withIndex("byKey", (bound) => bound.eq("externalId", identity.subject))
    .unique();
}

// Credits as decimal text. What lots past their end have left does not count.
export const balance = query({
  args: {},
  returns: v.object({ creditsBalance: v.string(), held: v.string(), debt: v.string() }),
  handler: async (ctx) => {
    const user = await whoAsks(ctx);
    const account =
      user &&
      (await ctx.db
        .query("accounts")
        .withIndex("byKey", (bound) => bound.eq("accountId", user.accountId))
        .unique());
    if (!account) return { creditsBalance: decimal(0n, 9), held: decimal(0n, 9), debt: decimal(0n, 9) };
    const lots = await ctx.db
      .query("grants")
      .withIndex("byRemaining", (bound) => bound.eq("accountId", account.accountId).gt("remainingNanocredits", 0n))
      .take(LOTS_MAX);
    const now = nowUs();
    const expired = lots
      .filter((lot) => lot.expiresAtUs !== null && lot.expiresAtUs <= now)
      .reduce((sum, lot) => sum + lot.remainingNanocredits - lot.heldNanocredits, 0n);
    return {
      creditsBalance: decimal(account.postedNanocredits - account.heldNanocredits - expired, 9),
      held: decimal(account.heldNanocredits, 9),
      debt: decimal(account.debtNanocredits, 9),
    };
  },
});

const run = v.object({
  userId: v.id("users"),
  runId: v.string(),
  workflowType: v.string(),
  status: v.string(),
  totalCostCents: v.string(),
  calls: v.int64(),
  startedAt: v.int64(),
  completedAt: v.union(v.int64(), v.null()),
});

// The newest runs first, at most a hundred.
export const recentRuns = query({
  args: { limit: v.optional(v.number()) },
  returns: v.array(run),
  handler: async (ctx, { limit }) => {
    const user = await whoAsks(ctx);
    if (user === null) return [];
    const size = Math.max(1, Math.min(Math.trunc(limit ?? 20) || 1, RUNS_MAX));
    const runs = await ctx.db
      .query("workflowRuns")
      .withIndex("byOpening", (bound) => bound.eq("accountId", user.accountId))
      .order("desc")
      .take(size);
    return runs.map((doc) => ({
      userId: doc.userId,
      runId: doc.runId,
      workflowType: doc.workflowType,
      status: doc.status,
      totalCostCents: doc.totalCostCents,
      calls: doc.calls,
      startedAt: doc.openedAtUs / 1000n,
      completedAt: doc.closedAtUs === null ? null : doc.closedAtUs / 1000n,
    }));
  },
});

const part = v.object({ model: v.string(), operation: v.string(), calls: v.int64(), credits: v.string(), costCents: v.string() });

// What was used in the last 24 hours, by quarters of an hour, or in the last 7 or 30 days, by whole UTC days.
export const usage = query({
  args: { period: v.union(v.literal("day"), v.literal("week"), v.literal("month")) },
  returns: v.object({ calls: v.int64(), credits: v.string(), costCents: v.string(), parts: v.array(part), isComplete: v.boolean() }),
  handler: async (ctx, { period }) => {
    const user = await whoAsks(ctx);
    const rollups = user
      ? await ctx.db
          .query("rollups")
          .withIndex("byKey", (bound) =>
            bound
              .eq("accountId", user.accountId)
              .eq("grain", period === "day" ? "quarter" : "day")
              .gt("startUs", nowUs() - PERIOD_US[period]),
          )
          .take(ROLLUPS_MAX)
      : [];
    const parts = new Map<string, { model: string; operation: string; calls: bigint; nanocredits: bigint; picousd: bigint }>();
    for (const { model, operation, calls, nanocredits, picousd } of rollups) {
      const name = JSON.stringify([model, operation]);
      const sum = parts.get(name) ?? { model, operation, calls: 0n, nanocredits: 0n, picousd: 0n };
      sum.calls += calls;
      sum.nanocredits += nanocredits;
      sum.picousd += BigInt(picousd);
      parts.set(name, sum);
    }
    const sums = [...parts.values()];
    const total = (field: "calls" | "nanocredits" | "picousd") => sums.reduce((sum, one) => sum + one[field], 0n);
    return {
      calls: total("calls"),
      credits: decimal(total("nanocredits"), 9),
      costCents: decimal(total("picousd"), 10),
      parts: sums.map(({ model, operation, calls, nanocredits, picousd }) => ({
        model,
        operation,
        calls,
        credits: decimal(nanocredits, 9),
        costCents: decimal(picousd, 10),
      })),
      isComplete: rollups.length < ROLLUPS_MAX,
    };
  },
});
