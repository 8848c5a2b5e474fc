/* eslint-disable */
  /**
   * Generated `api` utility.
   *
   * THIS CODE IS AUTOMATICALLY GENERATED.
   *
   * To regenerate, run `npx convex dev`.
   * @module
   */

  import type { ApiFromModules, FilterApi, FunctionReference } from "convex/server";
  import type * as callfare_billing from "../callfare/billing.js";
import type * as callfare_door from "../callfare/door.js";
import type * as callfare_ledger from "../callfare/ledger.js";
import type * as callfare_ranges from "../callfare/ranges.js";
import type * as callfare_readings from "../callfare/readings.js";
import type * as callfare_rules from "../callfare/rules.js";
import type * as callfare_specified from "../callfare/specified.js";
import type * as callfare_state from "../callfare/state.js";
import type * as callfare_tables from "../callfare/tables.js";
import type * as callfare_upkeep from "../callfare/upkeep.js";
import type * as callfare_values from "../callfare/values.js";
import type * as callfare_writing from "../callfare/writing.js";

  /**
   * A utility for referencing Convex functions in your app's API.
   *
   * Usage:
   * ```js
   * const myFunctionReference = api.myModule.myFunction;
   * ```
   */
  declare const fullApi: ApiFromModules<{
    "callfare/billing": typeof callfare_billing,
"callfare/door": typeof callfare_door,
"callfare/ledger": typeof callfare_ledger,
"callfare/ranges": typeof callfare_ranges,
"callfare/readings": typeof callfare_readings,
"callfare/rules": typeof callfare_rules,
"callfare/specified": typeof callfare_specified,
"callfare/state": typeof callfare_state,
"callfare/tables": typeof callfare_tables,
"callfare/upkeep": typeof callfare_upkeep,
"callfare/values": typeof callfare_values,
"callfare/writing": typeof callfare_writing,
  }>;
  export declare const api: FilterApi<typeof fullApi, FunctionReference<any, "public">>;
  export declare const internal: FilterApi<typeof fullApi, FunctionReference<any, "internal">>;
