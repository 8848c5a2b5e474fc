// Whether there is a ledger in this deployment, and whether it is whole.
import type { Doc } from "../_generated/dataModel";
import type { QueryCtx } from "../_generated/server";
import { SCHEMA } from "./tables";
import { fail } from "./values";

export async function stateOf(ctx: QueryCtx): Promise<Doc<"ledgerState"> | null> {
  return await ctx.db.query("ledgerState").first();
}

// The ledger that everyone may use. Its document changes when it is made, filled or migrated, and else never, so that
// no two writes meet in it.
export async function wholeLedger(ctx: QueryCtx): Promise<Doc<"ledgerState">> {
  const state = await stateOf(ctx);
  if (state === null) fail("not_found", "the deployment holds no ledger");
  if (state.source !== null) fail("incomplete", "the ledger is being filled");
  if (state.schema !== SCHEMA) fail("schema", "the ledger has another schema than the functions", state.schema);
  return state;
}

// The ledger that whoever put this mark last is filling.
export async function fillingLedger(ctx: QueryCtx, mark: string): Promise<Doc<"ledgerState">> {
  const state = await stateOf(ctx);
  if (state === null || state.source === null || state.mark !== mark) fail("overtaken", "another process fills the ledger");
  return state;
}
