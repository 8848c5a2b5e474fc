-- Queries of the PostgreSQL store. Sets of rows come as one JSON array of arrays in the order of the columns, so that
-- a batch is one parameter; what only SQLite words otherwise is worded here in PostgreSQL's way.

-- name: put_identities
-- Name a user.
INSERT INTO identities (
    "user", account_id, email, stripe_customer_id, created_at_us, seal
)
SELECT
    r ->> 0, (r ->> 1)::BIGINT, r ->> 2, r ->> 3, (r ->> 4)::BIGINT, (r ->> 5)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_identities
-- Renew what is known of a user.
UPDATE identities AS o SET
    email = r ->> 2,
    stripe_customer_id = r ->> 3,
    seal = (r ->> 5)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o."user" = r ->> 0;

-- name: put_accounts
-- Open an account.
INSERT INTO accounts (
    account_id, posted_nanocredits, held_nanocredits, debt_nanocredits, last_seq, opened_at_us, seal
)
SELECT
    (r ->> 0)::BIGINT, (r ->> 1)::BIGINT, (r ->> 2)::BIGINT, (r ->> 3)::BIGINT, (r ->> 4)::BIGINT,
    (r ->> 5)::BIGINT, (r ->> 6)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_accounts
-- Move an account's totals.
UPDATE accounts AS o SET
    posted_nanocredits = (r ->> 1)::BIGINT,
    held_nanocredits = (r ->> 2)::BIGINT,
    debt_nanocredits = (r ->> 3)::BIGINT,
    last_seq = (r ->> 4)::BIGINT,
    seal = (r ->> 6)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.account_id = (r ->> 0)::BIGINT;

-- name: put_grants
-- Add a lot.
INSERT INTO grants (
    account_id, grant_id, source, amount_nanocredits, remaining_nanocredits, held_nanocredits, paid_picousd,
    reference, created_at_us, expires_at_us, refunded_nanocredits, seal
)
SELECT
    (r ->> 0)::BIGINT, (r ->> 1)::BIGINT, r ->> 2, (r ->> 3)::BIGINT, (r ->> 4)::BIGINT, (r ->> 5)::BIGINT,
    (r ->> 6)::BIGINT, r ->> 7, (r ->> 8)::BIGINT, (r ->> 9)::BIGINT, (r ->> 10)::BIGINT, (r ->> 11)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_grants
-- Move what remains of a lot.
UPDATE grants AS o SET
    remaining_nanocredits = (r ->> 4)::BIGINT,
    held_nanocredits = (r ->> 5)::BIGINT,
    refunded_nanocredits = (r ->> 10)::BIGINT,
    seal = (r ->> 11)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.account_id = (r ->> 0)::BIGINT AND o.grant_id = (r ->> 1)::BIGINT;

-- name: put_runs
-- Open a run.
INSERT INTO runs (
    account_id, run_id, workflow, status, on_failure, asked_nanocredits, held_nanocredits, used_nanocredits,
    debt_nanocredits, charged_nanocredits, cost_picousd, calls, unpriced_calls, low_nanocredits,
    high_nanocredits, ttl_s, opened_at_us, expires_at_us, closed_at_us, close_seq, receipt, input, fingerprint,
    seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, r ->> 2, r ->> 3, r ->> 4, (r ->> 5)::BIGINT, (r ->> 6)::BIGINT,
    (r ->> 7)::BIGINT, (r ->> 8)::BIGINT, (r ->> 9)::BIGINT, (r ->> 10)::BIGINT, (r ->> 11)::BIGINT,
    (r ->> 12)::BIGINT, (r ->> 13)::BIGINT, (r ->> 14)::BIGINT, (r ->> 15)::BIGINT, (r ->> 16)::BIGINT,
    (r ->> 17)::BIGINT, (r ->> 18)::BIGINT, (r ->> 19)::BIGINT, r ->> 20, r ->> 21, (r ->> 22)::BIGINT,
    (r ->> 23)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_runs
-- Move a run along. The server keeps it in its place in every index whose columns stay as they are.
UPDATE runs AS o SET
    status = r ->> 3,
    held_nanocredits = (r ->> 6)::BIGINT,
    used_nanocredits = (r ->> 7)::BIGINT,
    debt_nanocredits = (r ->> 8)::BIGINT,
    charged_nanocredits = (r ->> 9)::BIGINT,
    cost_picousd = (r ->> 10)::BIGINT,
    calls = (r ->> 11)::BIGINT,
    unpriced_calls = (r ->> 12)::BIGINT,
    expires_at_us = (r ->> 17)::BIGINT,
    closed_at_us = (r ->> 18)::BIGINT,
    close_seq = (r ->> 19)::BIGINT,
    receipt = r ->> 20,
    seal = (r ->> 23)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.account_id = (r ->> 0)::BIGINT AND o.run_id = r ->> 1;

-- name: put_holds
-- Reserve a part of a lot, or change how much.
INSERT INTO holds (
    account_id, hold_id, grant_id, amount_nanocredits, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, (r ->> 2)::BIGINT, (r ->> 3)::BIGINT, (r ->> 4)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
ON CONFLICT (account_id, hold_id, grant_id) DO UPDATE SET
    amount_nanocredits = excluded.amount_nanocredits,
    seal = excluded.seal;

-- name: put_jobs
-- Add a long job.
INSERT INTO jobs (
    account_id, job_id, run_id, status, held_nanocredits, charge, created_at_us, expires_at_us, settled_at_us,
    seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, r ->> 2, r ->> 3, (r ->> 4)::BIGINT, r ->> 5, (r ->> 6)::BIGINT,
    (r ->> 7)::BIGINT, (r ->> 8)::BIGINT, (r ->> 9)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_jobs
-- End a long job.
UPDATE jobs AS o SET
    status = r ->> 3,
    held_nanocredits = (r ->> 4)::BIGINT,
    settled_at_us = (r ->> 8)::BIGINT,
    seal = (r ->> 9)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.account_id = (r ->> 0)::BIGINT AND o.job_id = r ->> 1;

-- name: put_transfers
-- Append a transfer.
INSERT INTO transfers (
    account_id, seq, kind, amount_nanocredits, entry_count, run_id, reference, at_us, seal
)
SELECT
    (r ->> 0)::BIGINT, (r ->> 1)::BIGINT, r ->> 2, (r ->> 3)::BIGINT, (r ->> 4)::BIGINT, r ->> 5, r ->> 6,
    (r ->> 7)::BIGINT, (r ->> 8)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: put_entries
-- Append an entry.
INSERT INTO entries (
    account_id, seq, position, account_kind, grant_id, amount_nanocredits, seal
)
SELECT
    (r ->> 0)::BIGINT, (r ->> 1)::BIGINT, (r ->> 2)::BIGINT, r ->> 3, (r ->> 4)::BIGINT, (r ->> 5)::BIGINT,
    (r ->> 6)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: put_events
-- Append a usage event.
INSERT INTO events (
    account_id, key, kind, corrects, run_id, workflow, call_number, step, provider, base_url, model, operation,
    response_id, status, flags, reason, nanocredits, picousd, debt_nanocredits, charge_seq, edition, markup,
    usage, counted, attributes, lines, metadata, raw_digest, at_us, recorded_at_us, fingerprint,
    held_after_nanocredits, used_after_nanocredits, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, r ->> 2, r ->> 3, r ->> 4, r ->> 5, (r ->> 6)::BIGINT, r ->> 7, r ->> 8,
    r ->> 9, r ->> 10, r ->> 11, r ->> 12, r ->> 13, r ->> 14, r ->> 15, (r ->> 16)::BIGINT, (r ->> 17)::BIGINT,
    (r ->> 18)::BIGINT, (r ->> 19)::BIGINT, r ->> 20, r ->> 21, r ->> 22, r ->> 23, r ->> 24, r ->> 25,
    r ->> 26, (r ->> 27)::BIGINT, (r ->> 28)::BIGINT, (r ->> 29)::BIGINT, (r ->> 30)::BIGINT,
    (r ->> 31)::BIGINT, (r ->> 32)::BIGINT, (r ->> 33)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: put_raw_usage
-- Append the provider's own usage object.
INSERT INTO raw_usage (
    account_id, key, recorded_at_us, raw, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, (r ->> 2)::BIGINT, r ->> 3, (r ->> 4)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: put_keys
-- Append an idempotency key with its first answer.
INSERT INTO keys (
    account_id, key, kind, fingerprint, receipt, at_us, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, r ->> 2, (r ->> 3)::BIGINT, r ->> 4, (r ->> 5)::BIGINT, (r ->> 6)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: put_rollups
-- Begin a roll-up.
INSERT INTO rollups (
    account_id, grain, start_us, workflow, provider, model, operation, calls, unpriced_calls, nanocredits,
    picousd, units, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, (r ->> 2)::BIGINT, r ->> 3, r ->> 4, r ->> 5, r ->> 6, (r ->> 7)::BIGINT,
    (r ->> 8)::BIGINT, (r ->> 9)::BIGINT, r ->> 10, r ->> 11, (r ->> 12)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_rollups
-- Put sums in the place of a roll-up's.
UPDATE rollups AS o SET
    calls = (r ->> 7)::BIGINT,
    unpriced_calls = (r ->> 8)::BIGINT,
    nanocredits = (r ->> 9)::BIGINT,
    picousd = r ->> 10,
    units = r ->> 11,
    seal = (r ->> 12)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE
    o.account_id = (r ->> 0)::BIGINT
    AND o.grain = r ->> 1
    AND o.start_us = (r ->> 2)::BIGINT
    AND o.workflow = r ->> 3
    AND o.provider = r ->> 4
    AND o.model = r ->> 5
    AND o.operation = r ->> 6;

-- name: replace_rollups
-- Put sums in the place of a roll-up's, each of which must be as it was left: it divides by zero when one is not.
WITH moved AS (
    UPDATE rollups AS o SET
        calls = (r ->> 7)::BIGINT,
        unpriced_calls = (r ->> 8)::BIGINT,
        nanocredits = (r ->> 9)::BIGINT,
        picousd = r ->> 10,
        units = r ->> 11,
        seal = (r ->> 12)::BIGINT
    FROM jsonb_array_elements(:rows::JSONB) AS r
    WHERE
        o.account_id = (r ->> 0)::BIGINT AND o.grain = r ->> 1 AND o.start_us = (r ->> 2)::BIGINT
        AND o.workflow = r ->> 3 AND o.provider = r ->> 4 AND o.model = r ->> 5 AND o.operation = r ->> 6
        AND o.seal = (r ->> 13)::BIGINT
    RETURNING 1
)

SELECT 1 / (count(*) = :count)::INTEGER FROM moved;

-- name: drop_holds
-- Forget parts of holds that were captured, voided or expired.
DELETE FROM holds AS h
USING jsonb_array_elements(:rows::JSONB) AS r
WHERE h.account_id = (r ->> 0)::BIGINT AND h.hold_id = r ->> 1 AND h.grant_id = (r ->> 2)::BIGINT;

-- name: forget_plans
-- Have every statement planned again: a plan that was made for small tables may take the wrong index of large ones.
DISCARD PLANS;

-- name: now
-- The server's clock.
SELECT (extract(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT;

-- name: load_identities
-- The users of some names.
SELECT
    "user", account_id, email, stripe_customer_id, created_at_us
FROM identities
WHERE "user" = ANY(:users);

-- name: load_identities_of
-- The users behind some accounts.
SELECT
    "user", account_id, email, stripe_customer_id, created_at_us
FROM identities
WHERE account_id = ANY(:accounts);

-- name: owners_of_runs
-- Which accounts have runs of these ids.
SELECT account_id, run_id
FROM runs
WHERE run_id = ANY(:run_ids);

-- name: owners_of_jobs
-- Which accounts have jobs of these ids.
SELECT account_id, job_id
FROM jobs
WHERE job_id = ANY(:job_ids);

-- name: lock_runs
-- Named runs, locked in the order of their key, so that batches wait in turn.
SELECT
    o.account_id, o.run_id, o.workflow, o.status, o.on_failure, o.asked_nanocredits, o.held_nanocredits,
    o.used_nanocredits, o.debt_nanocredits, o.charged_nanocredits, o.cost_picousd, o.calls, o.unpriced_calls,
    o.low_nanocredits, o.high_nanocredits, o.ttl_s, o.opened_at_us, o.expires_at_us, o.closed_at_us, o.close_seq,
    o.receipt, o.input, o.fingerprint
FROM runs AS o
INNER JOIN jsonb_array_elements(:pairs::JSONB) AS r
    ON o.account_id = (r ->> 0)::BIGINT AND o.run_id = r ->> 1
ORDER BY o.account_id, o.run_id
FOR NO KEY UPDATE OF o;

-- name: lock_runs_and_due
-- Named runs and those past their time on some accounts, locked in the same order.
SELECT
    account_id, run_id, workflow, status, on_failure, asked_nanocredits, held_nanocredits, used_nanocredits,
    debt_nanocredits, charged_nanocredits, cost_picousd, calls, unpriced_calls, low_nanocredits,
    high_nanocredits, ttl_s, opened_at_us, expires_at_us, closed_at_us, close_seq, receipt, input, fingerprint
FROM runs
WHERE (account_id, run_id) IN (
    SELECT (r ->> 0)::BIGINT, r ->> 1 FROM jsonb_array_elements(:pairs::JSONB) AS r
    UNION
    SELECT d.account_id, d.run_id
    FROM runs AS d
    WHERE d.account_id = ANY(:accounts) AND d.status = 'open' AND d.expires_at_us <= :now_us
)
ORDER BY account_id, run_id
FOR NO KEY UPDATE;

-- name: lock_jobs
-- Named jobs, locked in the order of their key.
SELECT
    o.account_id, o.job_id, o.run_id, o.status, o.held_nanocredits, o.charge, o.created_at_us, o.expires_at_us,
    o.settled_at_us
FROM jobs AS o
INNER JOIN jsonb_array_elements(:pairs::JSONB) AS r
    ON o.account_id = (r ->> 0)::BIGINT AND o.job_id = r ->> 1
ORDER BY o.account_id, o.job_id
FOR NO KEY UPDATE OF o;

-- name: lock_jobs_and_due
-- Named jobs and those past their time on some accounts, locked in the same order.
SELECT
    account_id, job_id, run_id, status, held_nanocredits, charge, created_at_us, expires_at_us, settled_at_us
FROM jobs
WHERE (account_id, job_id) IN (
    SELECT (r ->> 0)::BIGINT, r ->> 1 FROM jsonb_array_elements(:pairs::JSONB) AS r
    UNION
    SELECT d.account_id, d.job_id
    FROM jobs AS d
    WHERE d.account_id = ANY(:accounts) AND d.status = 'pending' AND d.expires_at_us <= :now_us
)
ORDER BY account_id, job_id
FOR NO KEY UPDATE;

-- name: load_events
-- The usage events under some keys.
SELECT
    e.account_id, e.key, e.kind, e.corrects, e.run_id, e.workflow, e.call_number, e.step, e.provider,
    e.base_url, e.model, e.operation, e.response_id, e.status, e.flags, e.reason, e.nanocredits, e.picousd,
    e.debt_nanocredits, e.charge_seq, e.edition, e.markup, e.usage, e.counted, e.attributes, e.lines,
    e.metadata, e.raw_digest, e.at_us, e.recorded_at_us, e.fingerprint, e.held_after_nanocredits,
    e.used_after_nanocredits
FROM events AS e
INNER JOIN jsonb_array_elements(:pairs::JSONB) AS r
    ON e.account_id = (r ->> 0)::BIGINT AND e.key = r ->> 1;

-- name: load_keys
-- What is recorded under some idempotency keys.
SELECT
    k.account_id, k.key, k.kind, k.fingerprint, k.receipt, k.at_us
FROM keys AS k
INNER JOIN jsonb_array_elements(:pairs::JSONB) AS r
    ON k.account_id = (r ->> 0)::BIGINT AND k.key = r ->> 1;

-- name: lock_accounts
-- Accounts, locked in the order of their number, after their runs.
SELECT
    account_id, posted_nanocredits, held_nanocredits, debt_nanocredits, last_seq, opened_at_us
FROM accounts
WHERE account_id = ANY(:accounts)
ORDER BY account_id
FOR NO KEY UPDATE;

-- name: runs_among
-- Runs of some ids, each told once, of any account.
SELECT
    r.account_id, r.run_id, r.workflow, r.status, r.on_failure, r.asked_nanocredits, r.held_nanocredits,
    r.used_nanocredits, r.debt_nanocredits, r.charged_nanocredits, r.cost_picousd, r.calls, r.unpriced_calls,
    r.low_nanocredits, r.high_nanocredits, r.ttl_s, r.opened_at_us, r.expires_at_us, r.closed_at_us, r.close_seq,
    r.receipt, r.input, r.fingerprint
FROM jsonb_array_elements_text(:run_ids::JSONB) AS n (run_id)
INNER JOIN runs AS r ON n.run_id = r.run_id
ORDER BY r.run_id, r.account_id;

-- name: look
-- A key, and the totals of a user whom it may see: not those of anybody else, and of nobody where there is no such key.
-- What is due or owed changes the totals, so that is looked at as a whole.
SELECT
    k.key_id, k.family, k.mode, k.label, k.scopes, k.digest, k.pepper, k."user", k.networks, k.grant_cap_nanocredits,
    k.created_at_us, k.expires_at_us, k.revoked_at_us, k.rolled_to, k.used_at_us,
    a.account_id, a.posted_nanocredits, a.held_nanocredits, a.debt_nanocredits, a.last_seq, a.opened_at_us,
    i."user" AS name,
    (
        SELECT coalesce(sum(r.used_nanocredits), 0)
        FROM runs AS r
        WHERE r.account_id = a.account_id AND r.status = 'open' AND r.expires_at_us > n.now_us
    ) AS spent_nanocredits,
    (
        a.debt_nanocredits > 0
        OR EXISTS (
            SELECT 1 FROM grants AS g
            WHERE g.account_id = a.account_id AND g.remaining_nanocredits > 0 AND g.expires_at_us <= n.now_us
        )
        OR EXISTS (
            SELECT 1 FROM runs AS r
            WHERE r.account_id = a.account_id AND r.status = 'open' AND r.expires_at_us <= n.now_us
        )
        OR EXISTS (
            SELECT 1 FROM jobs AS j
            WHERE j.account_id = a.account_id AND j.status = 'pending' AND j.expires_at_us <= n.now_us
        )
    ) AS is_due,
    n.now_us
FROM unnest(:key_ids::TEXT[], :users::TEXT[]) WITH ORDINALITY AS asked (key_id, "user", place)
CROSS JOIN (
    SELECT coalesce(:now_us::BIGINT, (extract(EPOCH FROM statement_timestamp()) * 1000000)::BIGINT) AS now_us
) AS n
LEFT JOIN api_keys AS k ON asked.key_id = k.key_id
LEFT JOIN identities AS i
    ON
        coalesce(asked."user", k."user") = i."user"
        AND (asked.key_id IS NULL OR k.key_id IS NOT NULL)
        AND (k."user" IS NULL OR k."user" = i."user")
LEFT JOIN accounts AS a ON i.account_id = a.account_id
ORDER BY asked.place;

-- name: users_among
-- The users behind some accounts.
SELECT
    i."user", i.account_id, i.email, i.stripe_customer_id, i.created_at_us
FROM jsonb_array_elements(:pairs::JSONB) AS r
INNER JOIN identities AS i ON (r ->> 0)::BIGINT = i.account_id;

-- name: orders_among
-- Some orders by their keys.
SELECT
    o.account_id, o.order_id, o.kind, o.product, o.nanocredits, o.lots_end, o.currency, o.subtotal, o.edition,
    o.mode, o.instance, o.request, o.attempt, o.state, o.version, o.customer, o.session, o.url, o.subscription,
    o.reason, o.created_at_us, o.moved_at_us, o.ends_at_us
FROM jsonb_array_elements(:pairs::JSONB) AS r
INNER JOIN orders AS o ON (r ->> 0)::BIGINT = o.account_id AND r ->> 1 = o.order_id;

-- name: sales_among
-- Some payments by their keys.
SELECT
    o.account_id, o.sale_id, o.order_id, o.source, o.mode, o.currency, o.invoice, o.payment, o.captured, o.reversed,
    o.dispute, o.nanocredits, o.taken_back_nanocredits, o.withheld_nanocredits, o.grant_id, o.version,
    o.created_at_us, o.moved_at_us
FROM jsonb_array_elements(:pairs::JSONB) AS r
INNER JOIN sales AS o ON (r ->> 0)::BIGINT = o.account_id AND r ->> 1 = o.sale_id;

-- name: load_grants
-- Lots that still have credit, and lots that are named. Two looks: one condition with OR would read the whole table.
SELECT
    account_id, grant_id, source, amount_nanocredits, remaining_nanocredits, held_nanocredits, paid_picousd,
    reference, created_at_us, expires_at_us, refunded_nanocredits
FROM grants
WHERE account_id = ANY(:accounts) AND remaining_nanocredits > 0
UNION
SELECT
    o.account_id, o.grant_id, o.source, o.amount_nanocredits, o.remaining_nanocredits, o.held_nanocredits,
    o.paid_picousd, o.reference, o.created_at_us, o.expires_at_us, o.refunded_nanocredits
FROM jsonb_array_elements(:pairs::JSONB) AS r
INNER JOIN grants AS o ON (r ->> 0)::BIGINT = o.account_id AND (r ->> 1)::BIGINT = o.grant_id;

-- name: load_holds
-- What some runs and jobs have reserved, lot by lot.
SELECT
    h.account_id, h.hold_id, h.grant_id, h.amount_nanocredits
FROM holds AS h
INNER JOIN jsonb_array_elements(:pairs::JSONB) AS r
    ON h.account_id = (r ->> 0)::BIGINT AND h.hold_id = r ->> 1;

-- name: lock_rollups
-- The roll-ups that a batch adds to, locked in the order of their key.
SELECT
    o.account_id, o.grain, o.start_us, o.workflow, o.provider, o.model, o.operation, o.calls, o.unpriced_calls,
    o.nanocredits, o.picousd, o.units
FROM rollups AS o
INNER JOIN jsonb_array_elements(:rows::JSONB) AS r
    ON
        o.account_id = (r ->> 0)::BIGINT
        AND o.grain = r ->> 1
        AND o.start_us = (r ->> 2)::BIGINT
        AND o.workflow = r ->> 3
        AND o.provider = r ->> 4
        AND o.model = r ->> 5
        AND o.operation = r ->> 6
ORDER BY o.account_id, o.grain, o.start_us, o.workflow, o.provider, o.model, o.operation
FOR NO KEY UPDATE OF o;

-- name: schema_versions
-- Where the schema's version is kept, null when there is no ledger.
SELECT to_regclass('callfare.schema_versions');

-- name: newest_version
-- The newest step that was applied.
SELECT max(number) FROM callfare.schema_versions;

-- name: lock_migrations
-- One process migrates at a time; the others wait and find nothing left to do.
SELECT pg_advisory_xact_lock(:number);

-- name: make_schema
-- The schema that everything lives in.
CREATE SCHEMA IF NOT EXISTS callfare;

-- name: make_versions
-- Which steps were applied, and when.
CREATE TABLE IF NOT EXISTS callfare.schema_versions (number INTEGER PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL);

-- name: note_version
-- A step has been applied.
INSERT INTO callfare.schema_versions (number, applied_at) VALUES (:number, now());

-- name: find_filling
-- What a ledger is being filled from, null when none is.
SELECT to_regclass('callfare_filling.filling');

-- name: lock_tables
-- Whoever reads or writes the ledger ends first, and nobody begins.
LOCK TABLE
callfare.identities, callfare.accounts, callfare.grants, callfare.runs, callfare.holds, callfare.jobs,
callfare.transfers, callfare.entries, callfare.events, callfare.raw_usage, callfare.keys, callfare.rollups,
callfare.retention, callfare.api_keys, callfare.key_days, callfare.audit, callfare.orders, callfare.sales,
callfare.customers, callfare.subscriptions, callfare.inbox, callfare.quarantine, callfare.installation
IN ACCESS EXCLUSIVE MODE;

-- name: move_schema_away
-- A ledger that is being filled is not where anyone looks for it.
ALTER SCHEMA callfare RENAME TO callfare_filling;

-- name: move_schema_back
-- The ledger is whole.
ALTER SCHEMA callfare_filling RENAME TO callfare;

-- name: make_filling
-- What a ledger is being filled from, and how far that has come; there only until it is whole.
CREATE TABLE callfare_filling.filling (source TEXT NOT NULL, mark TEXT NOT NULL);

-- name: begin_filling
-- A source begins.
INSERT INTO callfare_filling.filling (source, mark) VALUES (:source, '');

-- name: load_filling
-- The source, and how far it has come.
SELECT
    source,
    mark
FROM callfare_filling.filling;

-- name: filling_mark
-- How far the source has come; whoever moves it waits for whoever does.
SELECT mark FROM callfare_filling.filling FOR UPDATE;

-- name: move_filling
-- The source has come this far.
UPDATE callfare_filling.filling SET mark = :mark;

-- name: end_filling
-- The ledger is whole.
DROP TABLE callfare_filling.filling;

-- name: drop_filling
-- Nothing is left of a ledger that is being filled.
DROP SCHEMA callfare_filling CASCADE;

-- name: use_filling
-- Statements that name no schema mean the ledger that is being filled.
SET search_path TO callfare_filling;

-- name: filling_version
-- The newest step of the schema that is being filled.
SELECT max(number) FROM callfare_filling.schema_versions;

-- name: put_retention
-- Say how far back rows of a kind are kept.
INSERT INTO retention (
    kind, before_us, set_at_us, seal
)
SELECT
    r ->> 0, (r ->> 1)::BIGINT, (r ->> 2)::BIGINT, (r ->> 3)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
ON CONFLICT (kind) DO UPDATE SET
    before_us = excluded.before_us,
    set_at_us = excluded.set_at_us,
    seal = excluded.seal;

-- name: lock_retention
-- How far back rows of a kind are kept; whoever changes it waits for whoever does.
SELECT
    kind, before_us, set_at_us
FROM retention
WHERE kind = :kind
FOR NO KEY UPDATE;

-- name: drop_raw
-- Remove some raw usage objects, when they are as old as is said.
DELETE FROM raw_usage AS u
USING unnest(:accounts::BIGINT[], :keys::TEXT[]) AS n (account_id, key)
WHERE u.account_id = n.account_id AND u.key = n.key AND u.recorded_at_us < :before_us;

-- name: put_api_keys
-- Add an API key.
INSERT INTO api_keys (
    key_id, family, mode, label, scopes, digest, pepper, "user", networks, grant_cap_nanocredits, created_at_us,
    expires_at_us, revoked_at_us, rolled_to, used_at_us, seal
)
SELECT
    r ->> 0, r ->> 1, r ->> 2, r ->> 3, r ->> 4, r ->> 5, r ->> 6, r ->> 7, r ->> 8, (r ->> 9)::BIGINT,
    (r ->> 10)::BIGINT, (r ->> 11)::BIGINT, (r ->> 12)::BIGINT, r ->> 13, (r ->> 14)::BIGINT, (r ->> 15)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_api_keys
-- End, roll or note the use of an API key.
UPDATE api_keys AS o SET
    expires_at_us = (r ->> 11)::BIGINT,
    revoked_at_us = (r ->> 12)::BIGINT,
    rolled_to = r ->> 13,
    used_at_us = (r ->> 14)::BIGINT,
    seal = (r ->> 15)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.key_id = r ->> 0;

-- name: put_key_days
-- Begin to count what keys grant in a day.
INSERT INTO key_days (
    family, day_us, granted_nanocredits, seal
)
SELECT
    r ->> 0, (r ->> 1)::BIGINT, (r ->> 2)::BIGINT, (r ->> 3)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_key_days
-- Count what keys grant in a day.
UPDATE key_days AS o SET
    granted_nanocredits = (r ->> 2)::BIGINT,
    seal = (r ->> 3)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.family = r ->> 0 AND o.day_us = (r ->> 1)::BIGINT;

-- name: put_audit
-- Append who asked for a write.
INSERT INTO audit (
    account_id, audit_id, at_us, principal, key_id, operation, object, request_key, request_id, state_before,
    state_after, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, (r ->> 2)::BIGINT, r ->> 3, r ->> 4, r ->> 5, r ->> 6, r ->> 7, r ->> 8,
    r ->> 9, r ->> 10, (r ->> 11)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: lock_api_keys
-- Some API keys, locked in the order of their ids, after accounts.
SELECT
    key_id, family, mode, label, scopes, digest, pepper, "user", networks, grant_cap_nanocredits, created_at_us,
    expires_at_us, revoked_at_us, rolled_to, used_at_us
FROM api_keys
WHERE key_id = ANY(:key_ids)
ORDER BY key_id
FOR NO KEY UPDATE;

-- name: lock_key_days
-- What some families of keys have granted in a UTC day, locked in the order of their names, after keys.
SELECT
    family, day_us, granted_nanocredits
FROM key_days
WHERE family = ANY(:families) AND day_us = :day_us
ORDER BY family
FOR NO KEY UPDATE;

-- name: put_orders
-- Write an order down.
INSERT INTO orders (
    account_id, order_id, kind, product, nanocredits, lots_end, currency, subtotal, edition, mode, instance,
    request, attempt, state, version, customer, session, url, subscription, reason, created_at_us, moved_at_us,
    ends_at_us, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, r ->> 2, r ->> 3, (r ->> 4)::BIGINT, r ->> 5, r ->> 6, (r ->> 7)::BIGINT, r ->> 8,
    r ->> 9, r ->> 10, r ->> 11, (r ->> 12)::BIGINT, r ->> 13, (r ->> 14)::BIGINT, r ->> 15, r ->> 16, r ->> 17,
    r ->> 18, r ->> 19, (r ->> 20)::BIGINT, (r ->> 21)::BIGINT, (r ->> 22)::BIGINT, (r ->> 23)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_orders
-- Move what may change of it.
UPDATE orders AS o SET
    request = r ->> 11,
    attempt = (r ->> 12)::BIGINT,
    state = r ->> 13,
    version = (r ->> 14)::BIGINT,
    customer = r ->> 15,
    session = r ->> 16,
    url = r ->> 17,
    subscription = r ->> 18,
    reason = r ->> 19,
    moved_at_us = (r ->> 21)::BIGINT,
    ends_at_us = (r ->> 22)::BIGINT,
    seal = (r ->> 23)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.account_id = (r ->> 0)::BIGINT AND o.order_id = r ->> 1;

-- name: lock_orders
-- Some rows, locked in the order of their keys, after runs and before accounts.
SELECT
    o.account_id, o.order_id, o.kind, o.product, o.nanocredits, o.lots_end, o.currency, o.subtotal, o.edition,
    o.mode, o.instance, o.request, o.attempt, o.state, o.version, o.customer, o.session, o.url, o.subscription,
    o.reason, o.created_at_us, o.moved_at_us, o.ends_at_us
FROM orders AS o
INNER JOIN jsonb_array_elements(:pairs::JSONB) AS r
    ON o.account_id = (r ->> 0)::BIGINT AND o.order_id = r ->> 1
ORDER BY o.account_id, o.order_id
FOR NO KEY UPDATE OF o;

-- name: put_sales
-- Note a payment and what was granted for it.
INSERT INTO sales (
    account_id, sale_id, order_id, source, mode, currency, invoice, payment, captured, reversed, dispute,
    nanocredits, taken_back_nanocredits, withheld_nanocredits, grant_id, version, created_at_us, moved_at_us, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, r ->> 2, r ->> 3, r ->> 4, r ->> 5, r ->> 6, r ->> 7, (r ->> 8)::BIGINT,
    (r ->> 9)::BIGINT, r ->> 10, (r ->> 11)::BIGINT, (r ->> 12)::BIGINT, (r ->> 13)::BIGINT, (r ->> 14)::BIGINT,
    (r ->> 15)::BIGINT, (r ->> 16)::BIGINT, (r ->> 17)::BIGINT, (r ->> 18)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_sales
-- Move what may change of it.
UPDATE sales AS o SET
    payment = r ->> 7,
    captured = (r ->> 8)::BIGINT,
    reversed = (r ->> 9)::BIGINT,
    dispute = r ->> 10,
    nanocredits = (r ->> 11)::BIGINT,
    taken_back_nanocredits = (r ->> 12)::BIGINT,
    withheld_nanocredits = (r ->> 13)::BIGINT,
    grant_id = (r ->> 14)::BIGINT,
    version = (r ->> 15)::BIGINT,
    moved_at_us = (r ->> 17)::BIGINT,
    seal = (r ->> 18)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.account_id = (r ->> 0)::BIGINT AND o.sale_id = r ->> 1;

-- name: lock_sales
-- Some rows, locked in the order of their keys, after runs and before accounts.
SELECT
    o.account_id, o.sale_id, o.order_id, o.source, o.mode, o.currency, o.invoice, o.payment, o.captured, o.reversed,
    o.dispute, o.nanocredits, o.taken_back_nanocredits, o.withheld_nanocredits, o.grant_id, o.version,
    o.created_at_us, o.moved_at_us
FROM sales AS o
INNER JOIN jsonb_array_elements(:pairs::JSONB) AS r
    ON o.account_id = (r ->> 0)::BIGINT AND o.sale_id = r ->> 1
ORDER BY o.account_id, o.sale_id
FOR NO KEY UPDATE OF o;

-- name: put_customers
-- Note whom the processor knows a user as.
INSERT INTO customers (
    account_id, mode, customer, attempt, created_at_us, moved_at_us, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, r ->> 2, (r ->> 3)::BIGINT, (r ->> 4)::BIGINT, (r ->> 5)::BIGINT, (r ->> 6)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_customers
-- Move what may change of it.
UPDATE customers AS o SET
    customer = r ->> 2,
    attempt = (r ->> 3)::BIGINT,
    moved_at_us = (r ->> 5)::BIGINT,
    seal = (r ->> 6)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.account_id = (r ->> 0)::BIGINT AND o.mode = r ->> 1;

-- name: lock_customers
-- Some rows, locked in the order of their keys, after runs and before accounts.
SELECT
    o.account_id, o.mode, o.customer, o.attempt, o.created_at_us, o.moved_at_us
FROM customers AS o
INNER JOIN jsonb_array_elements(:pairs::JSONB) AS r
    ON o.account_id = (r ->> 0)::BIGINT AND o.mode = r ->> 1
ORDER BY o.account_id, o.mode
FOR NO KEY UPDATE OF o;

-- name: put_subscriptions
-- Mirror a plan as it stands at the processor.
INSERT INTO subscriptions (
    account_id, subscription, order_id, product, mode, customer, status, is_ending, period_start_us, period_end_us,
    ended_at_us, version, created_at_us, moved_at_us, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, r ->> 2, r ->> 3, r ->> 4, r ->> 5, r ->> 6, (r ->> 7)::BIGINT, (r ->> 8)::BIGINT,
    (r ->> 9)::BIGINT, (r ->> 10)::BIGINT, (r ->> 11)::BIGINT, (r ->> 12)::BIGINT, (r ->> 13)::BIGINT,
    (r ->> 14)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_subscriptions
-- Move what may change of it.
UPDATE subscriptions AS o SET
    product = r ->> 3,
    customer = r ->> 5,
    status = r ->> 6,
    is_ending = (r ->> 7)::BIGINT,
    period_start_us = (r ->> 8)::BIGINT,
    period_end_us = (r ->> 9)::BIGINT,
    ended_at_us = (r ->> 10)::BIGINT,
    version = (r ->> 11)::BIGINT,
    moved_at_us = (r ->> 13)::BIGINT,
    seal = (r ->> 14)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.account_id = (r ->> 0)::BIGINT AND o.subscription = r ->> 1;

-- name: lock_subscriptions
-- Some rows, locked in the order of their keys, after runs and before accounts.
SELECT
    o.account_id, o.subscription, o.order_id, o.product, o.mode, o.customer, o.status, o.is_ending,
    o.period_start_us, o.period_end_us, o.ended_at_us, o.version, o.created_at_us, o.moved_at_us
FROM subscriptions AS o
INNER JOIN jsonb_array_elements(:pairs::JSONB) AS r
    ON o.account_id = (r ->> 0)::BIGINT AND o.subscription = r ->> 1
ORDER BY o.account_id, o.subscription
FOR NO KEY UPDATE OF o;

-- name: put_inbox
-- Keep a message of the processor's.
INSERT INTO inbox (
    account_id, message_id, event_type, object_id, mode, api_version, said_at_us, body, state, attempts,
    claimed_until_us, reason, received_at_us, settled_at_us, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, r ->> 2, r ->> 3, r ->> 4, r ->> 5, (r ->> 6)::BIGINT, r ->> 7, r ->> 8,
    (r ->> 9)::BIGINT, (r ->> 10)::BIGINT, r ->> 11, (r ->> 12)::BIGINT, (r ->> 13)::BIGINT, (r ->> 14)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: keep_inbox
-- Keep messages of the processor's whose texts stand in one parameter, one after another: where each begins, how long.
INSERT INTO inbox (
    account_id, message_id, event_type, object_id, mode, api_version, said_at_us, body, state, attempts,
    claimed_until_us, reason, received_at_us, settled_at_us, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, r ->> 2, r ->> 3, r ->> 4, r ->> 5, (r ->> 6)::BIGINT,
    convert_from(substr(:bodies::BYTEA, (r ->> 7)::INTEGER, (r ->> 8)::INTEGER), 'UTF8'),
    r ->> 9, (r ->> 10)::BIGINT, (r ->> 11)::BIGINT, r ->> 12, (r ->> 13)::BIGINT, (r ->> 14)::BIGINT,
    (r ->> 15)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_inbox
-- Move what may change of it; its text is not told again.
UPDATE inbox AS o SET
    state = r ->> 2,
    attempts = (r ->> 3)::BIGINT,
    claimed_until_us = (r ->> 4)::BIGINT,
    reason = r ->> 5,
    settled_at_us = (r ->> 6)::BIGINT,
    seal = (r ->> 7)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.account_id = (r ->> 0)::BIGINT AND o.message_id = r ->> 1;

-- name: lock_inbox
-- Some rows, locked in the order of their keys, after runs and before accounts.
SELECT
    o.account_id, o.message_id, o.event_type, o.object_id, o.mode, o.api_version, o.said_at_us, o.body, o.state,
    o.attempts, o.claimed_until_us, o.reason, o.received_at_us, o.settled_at_us
FROM inbox AS o
INNER JOIN jsonb_array_elements(:pairs::JSONB) AS r
    ON o.account_id = (r ->> 0)::BIGINT AND o.message_id = r ->> 1
ORDER BY o.account_id, o.message_id
FOR NO KEY UPDATE OF o;

-- name: put_quarantine
-- Put a payment aside.
INSERT INTO quarantine (
    account_id, item_id, mode, owner_id, reason, facts, created_at_us, claimed_at_us, claimed_by, resolution, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, r ->> 2, (r ->> 3)::BIGINT, r ->> 4, r ->> 5, (r ->> 6)::BIGINT, (r ->> 7)::BIGINT,
    r ->> 8, r ->> 9, (r ->> 10)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_quarantine
-- Move what may change of it.
UPDATE quarantine AS o SET
    claimed_at_us = (r ->> 7)::BIGINT,
    claimed_by = r ->> 8,
    resolution = r ->> 9,
    seal = (r ->> 10)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.account_id = (r ->> 0)::BIGINT AND o.item_id = r ->> 1;

-- name: lock_quarantine
-- Some rows, locked in the order of their keys, after runs and before accounts.
SELECT
    o.account_id, o.item_id, o.mode, o.owner_id, o.reason, o.facts, o.created_at_us, o.claimed_at_us, o.claimed_by,
    o.resolution
FROM quarantine AS o
INNER JOIN jsonb_array_elements(:pairs::JSONB) AS r
    ON o.account_id = (r ->> 0)::BIGINT AND o.item_id = r ->> 1
ORDER BY o.account_id, o.item_id
FOR NO KEY UPDATE OF o;

-- name: put_installation
-- Keep a fact about this installation.
INSERT INTO installation (
    account_id, name, value, set_at_us, seal
)
SELECT
    (r ->> 0)::BIGINT, r ->> 1, r ->> 2, (r ->> 3)::BIGINT, (r ->> 4)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r;

-- name: move_installation
-- Move what may change of it.
UPDATE installation AS o SET
    value = r ->> 2,
    set_at_us = (r ->> 3)::BIGINT,
    seal = (r ->> 4)::BIGINT
FROM jsonb_array_elements(:rows::JSONB) AS r
WHERE o.account_id = (r ->> 0)::BIGINT AND o.name = r ->> 1;

-- name: lock_installation
-- Some rows, locked in the order of their keys, after runs and before accounts.
SELECT
    o.account_id, o.name, o.value, o.set_at_us
FROM installation AS o
INNER JOIN jsonb_array_elements(:pairs::JSONB) AS r
    ON o.account_id = (r ->> 0)::BIGINT AND o.name = r ->> 1
ORDER BY o.account_id, o.name
FOR NO KEY UPDATE OF o;
