-- Queries of the SQLite store. A statement's placeholders stand in the order of the row's columns; `seal` is last.

-- name: put_identities
-- Name a user, or renew what is known of one.
INSERT INTO identities (
    user, account_id, email, stripe_customer_id, created_at_us, seal
)
VALUES (
    :user, :account_id, :email, :stripe_customer_id, :created_at_us, :seal
)
ON CONFLICT (user) DO UPDATE SET
    email = excluded.email,
    stripe_customer_id = excluded.stripe_customer_id,
    seal = excluded.seal;

-- name: put_accounts
-- Open an account, or move its totals.
INSERT INTO accounts (
    account_id, posted_nanocredits, held_nanocredits, debt_nanocredits, last_seq, opened_at_us, seal
)
VALUES (
    :account_id, :posted_nanocredits, :held_nanocredits, :debt_nanocredits, :last_seq, :opened_at_us, :seal
)
ON CONFLICT (account_id) DO UPDATE SET
    posted_nanocredits = excluded.posted_nanocredits,
    held_nanocredits = excluded.held_nanocredits,
    debt_nanocredits = excluded.debt_nanocredits,
    last_seq = excluded.last_seq,
    seal = excluded.seal;

-- name: put_grants
-- Add a lot, or move what remains of it.
INSERT INTO grants (
    account_id, grant_id, source, amount_nanocredits, remaining_nanocredits, held_nanocredits, paid_picousd,
    reference, created_at_us, expires_at_us, refunded_nanocredits, seal
)
VALUES (
    :account_id, :grant_id, :source, :amount_nanocredits, :remaining_nanocredits, :held_nanocredits,
    :paid_picousd, :reference, :created_at_us, :expires_at_us, :refunded_nanocredits, :seal
)
ON CONFLICT (account_id, grant_id) DO UPDATE SET
    remaining_nanocredits = excluded.remaining_nanocredits,
    held_nanocredits = excluded.held_nanocredits,
    refunded_nanocredits = excluded.refunded_nanocredits,
    seal = excluded.seal;

-- name: put_runs
-- Open a run, or move it along.
INSERT INTO runs (
    account_id, run_id, workflow, status, on_failure, asked_nanocredits, held_nanocredits, used_nanocredits,
    debt_nanocredits, charged_nanocredits, cost_picousd, calls, unpriced_calls, low_nanocredits,
    high_nanocredits, ttl_s, opened_at_us, expires_at_us, closed_at_us, close_seq, receipt, input, fingerprint,
    seal
)
VALUES (
    :account_id, :run_id, :workflow, :status, :on_failure, :asked_nanocredits, :held_nanocredits,
    :used_nanocredits, :debt_nanocredits, :charged_nanocredits, :cost_picousd, :calls, :unpriced_calls,
    :low_nanocredits, :high_nanocredits, :ttl_s, :opened_at_us, :expires_at_us, :closed_at_us, :close_seq,
    :receipt, :input, :fingerprint, :seal
)
ON CONFLICT (account_id, run_id) DO UPDATE SET
    status = excluded.status,
    held_nanocredits = excluded.held_nanocredits,
    used_nanocredits = excluded.used_nanocredits,
    debt_nanocredits = excluded.debt_nanocredits,
    charged_nanocredits = excluded.charged_nanocredits,
    cost_picousd = excluded.cost_picousd,
    calls = excluded.calls,
    unpriced_calls = excluded.unpriced_calls,
    expires_at_us = excluded.expires_at_us,
    closed_at_us = excluded.closed_at_us,
    close_seq = excluded.close_seq,
    receipt = excluded.receipt,
    seal = excluded.seal;

-- name: draw_runs
-- Move what usage moves in a run that stays open and is not renewed: no index has any of it.
UPDATE runs SET
    held_nanocredits = :held_nanocredits,
    used_nanocredits = :used_nanocredits,
    debt_nanocredits = :debt_nanocredits,
    charged_nanocredits = :charged_nanocredits,
    cost_picousd = :cost_picousd,
    calls = :calls,
    unpriced_calls = :unpriced_calls,
    seal = :seal
WHERE account_id = :account_id AND run_id = :run_id;

-- name: put_holds
-- Reserve a part of a lot, or change how much.
INSERT INTO holds (
    account_id, hold_id, grant_id, amount_nanocredits, seal
)
VALUES (
    :account_id, :hold_id, :grant_id, :amount_nanocredits, :seal
)
ON CONFLICT (account_id, hold_id, grant_id) DO UPDATE SET
    amount_nanocredits = excluded.amount_nanocredits,
    seal = excluded.seal;

-- name: put_jobs
-- Add a long job, or end it.
INSERT INTO jobs (
    account_id, job_id, run_id, status, held_nanocredits, charge, created_at_us, expires_at_us, settled_at_us,
    seal
)
VALUES (
    :account_id, :job_id, :run_id, :status, :held_nanocredits, :charge, :created_at_us, :expires_at_us,
    :settled_at_us, :seal
)
ON CONFLICT (account_id, job_id) DO UPDATE SET
    status = excluded.status,
    held_nanocredits = excluded.held_nanocredits,
    settled_at_us = excluded.settled_at_us,
    seal = excluded.seal;

-- name: put_transfers
-- Append a transfer.
INSERT INTO transfers (
    account_id, seq, kind, amount_nanocredits, entry_count, run_id, reference, at_us, seal
)
VALUES (
    :account_id, :seq, :kind, :amount_nanocredits, :entry_count, :run_id, :reference, :at_us, :seal
);

-- name: put_entries
-- Append an entry.
INSERT INTO entries (
    account_id, seq, position, account_kind, grant_id, amount_nanocredits, seal
)
VALUES (
    :account_id, :seq, :position, :account_kind, :grant_id, :amount_nanocredits, :seal
);

-- name: put_events
-- Append a usage event.
INSERT INTO events (
    account_id, key, kind, corrects, run_id, workflow, call_number, step, provider, base_url, model, operation,
    response_id, status, flags, reason, nanocredits, picousd, debt_nanocredits, charge_seq, edition, markup,
    usage, counted, attributes, lines, metadata, raw_digest, at_us, recorded_at_us, fingerprint,
    held_after_nanocredits, used_after_nanocredits, seal
)
VALUES (
    :account_id, :key, :kind, :corrects, :run_id, :workflow, :call_number, :step, :provider, :base_url, :model,
    :operation, :response_id, :status, :flags, :reason, :nanocredits, :picousd, :debt_nanocredits, :charge_seq,
    :edition, :markup, :usage, :counted, :attributes, :lines, :metadata, :raw_digest, :at_us, :recorded_at_us,
    :fingerprint, :held_after_nanocredits, :used_after_nanocredits, :seal
);

-- name: put_raw_usage
-- Append the provider's own usage object.
INSERT INTO raw_usage (
    account_id, key, recorded_at_us, raw, seal
)
VALUES (
    :account_id, :key, :recorded_at_us, :raw, :seal
);

-- name: put_keys
-- Append an idempotency key with its first answer.
INSERT INTO keys (
    account_id, key, kind, fingerprint, receipt, at_us, seal
)
VALUES (
    :account_id, :key, :kind, :fingerprint, :receipt, :at_us, :seal
);

-- name: put_rollups
-- Put a roll-up in place.
INSERT INTO rollups (
    account_id, grain, start_us, workflow, provider, model, operation, calls, unpriced_calls, nanocredits,
    picousd, units, seal
)
VALUES (
    :account_id, :grain, :start_us, :workflow, :provider, :model, :operation, :calls, :unpriced_calls,
    :nanocredits, :picousd, :units, :seal
)
ON CONFLICT (account_id, grain, start_us, workflow, provider, model, operation) DO UPDATE SET
    calls = excluded.calls,
    unpriced_calls = excluded.unpriced_calls,
    nanocredits = excluded.nanocredits,
    picousd = excluded.picousd,
    units = excluded.units,
    seal = excluded.seal;

-- name: drop_hold
-- Forget a hold's part of a lot once it is captured, voided or expired.
DELETE FROM holds
WHERE account_id = :account_id AND hold_id = :hold_id AND grant_id = :grant_id;

-- name: runs_among
-- Runs of some ids, each told once, of any account.
SELECT
    r.account_id, r.run_id, r.workflow, r.status, r.on_failure, r.asked_nanocredits, r.held_nanocredits,
    r.used_nanocredits, r.debt_nanocredits, r.charged_nanocredits, r.cost_picousd, r.calls, r.unpriced_calls,
    r.low_nanocredits, r.high_nanocredits, r.ttl_s, r.opened_at_us, r.expires_at_us, r.closed_at_us, r.close_seq,
    r.receipt, r.input, r.fingerprint
FROM json_each(:run_ids) AS n
INNER JOIN runs AS r ON n.value = r.run_id
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
        WHERE r.account_id = a.account_id AND r.status = 'open' AND r.expires_at_us > :now_us
    ) AS spent_nanocredits,
    (
        a.debt_nanocredits > 0
        OR EXISTS (
            SELECT 1 FROM grants AS g
            WHERE g.account_id = a.account_id AND g.remaining_nanocredits > 0 AND g.expires_at_us <= :now_us
        )
        OR EXISTS (
            SELECT 1 FROM runs AS r
            WHERE r.account_id = a.account_id AND r.status = 'open' AND r.expires_at_us <= :now_us
        )
        OR EXISTS (
            SELECT 1 FROM jobs AS j
            WHERE j.account_id = a.account_id AND j.status = 'pending' AND j.expires_at_us <= :now_us
        )
    ) AS is_due
FROM (SELECT :key_id AS key_id, :user AS "user") AS asked
LEFT JOIN api_keys AS k ON asked.key_id = k.key_id
LEFT JOIN identities AS i
    ON
        coalesce(asked."user", k."user") = i."user"
        AND (asked.key_id IS NULL OR k.key_id IS NOT NULL)
        AND (k."user" IS NULL OR k."user" = i."user")
LEFT JOIN accounts AS a ON i.account_id = a.account_id;

-- name: load_grants
-- Lots that still have credit.
SELECT
    account_id, grant_id, source, amount_nanocredits, remaining_nanocredits, held_nanocredits, paid_picousd,
    reference, created_at_us, expires_at_us, refunded_nanocredits
FROM grants
WHERE account_id = :account_id AND remaining_nanocredits > 0;

-- name: load_holds
-- What a run or a job has reserved, lot by lot.
SELECT
    account_id, hold_id, grant_id, amount_nanocredits
FROM holds
WHERE account_id = :account_id AND hold_id = :hold_id;

-- name: load_rollup
-- One roll-up.
SELECT
    account_id, grain, start_us, workflow, provider, model, operation, calls, unpriced_calls, nanocredits,
    picousd, units
FROM rollups
WHERE
    account_id = :account_id AND grain = :grain AND start_us = :start_us AND workflow = :workflow
    AND provider = :provider AND model = :model AND operation = :operation;

-- name: make_filling
-- What a ledger is being filled from, and how far that has come; there only until it is whole.
CREATE TABLE filling (source TEXT NOT NULL, mark TEXT NOT NULL) STRICT;

-- name: begin_filling
-- A source begins.
INSERT INTO filling (source, mark) VALUES (:source, '');

-- name: load_filling
-- The source, and how far it has come.
SELECT source, mark FROM filling;

-- name: filling_mark
-- How far the source has come.
SELECT mark FROM filling;

-- name: move_filling
-- The source has come this far.
UPDATE filling SET mark = :mark;

-- name: end_filling
-- The ledger is whole, or is dropped.
DROP TABLE filling;

-- name: drop_schema
-- Nothing is left of a ledger; only of one that is being filled.
DROP VIEW users;
DROP VIEW workflow_runs;
DROP VIEW usage_events;
DROP VIEW transactions;
DROP TABLE identities;
DROP TABLE accounts;
DROP TABLE grants;
DROP TABLE runs;
DROP TABLE holds;
DROP TABLE jobs;
DROP TABLE transfers;
DROP TABLE entries;
DROP TABLE events;
DROP TABLE raw_usage;
DROP TABLE keys;
DROP TABLE rollups;
DROP TABLE retention;
DROP TABLE api_keys;
DROP TABLE key_days;
DROP TABLE audit;
DROP TABLE orders;
DROP TABLE sales;
DROP TABLE customers;
DROP TABLE subscriptions;
DROP TABLE inbox;
DROP TABLE quarantine;
DROP TABLE installation;

-- name: put_retention
-- Say how far back rows of a kind are kept.
INSERT INTO retention (
    kind, before_us, set_at_us, seal
)
VALUES (
    :kind, :before_us, :set_at_us, :seal
)
ON CONFLICT (kind) DO UPDATE SET
    before_us = excluded.before_us,
    set_at_us = excluded.set_at_us,
    seal = excluded.seal;

-- name: drop_raw
-- Remove a raw usage object, when it is as old as is said.
DELETE FROM raw_usage
WHERE account_id = :account_id AND key = :key AND recorded_at_us < :before_us;

-- name: put_api_keys
-- Add an API key, or move what may change of it.
INSERT INTO api_keys (
    key_id, family, mode, label, scopes, digest, pepper, user, networks, grant_cap_nanocredits, created_at_us,
    expires_at_us, revoked_at_us, rolled_to, used_at_us, seal
)
VALUES (
    :key_id, :family, :mode, :label, :scopes, :digest, :pepper, :user, :networks, :grant_cap_nanocredits,
    :created_at_us, :expires_at_us, :revoked_at_us, :rolled_to, :used_at_us, :seal
)
ON CONFLICT (key_id) DO UPDATE SET
    expires_at_us = excluded.expires_at_us,
    revoked_at_us = excluded.revoked_at_us,
    rolled_to = excluded.rolled_to,
    used_at_us = excluded.used_at_us,
    seal = excluded.seal;

-- name: put_key_days
-- Count what keys grant in a day.
INSERT INTO key_days (
    family, day_us, granted_nanocredits, seal
)
VALUES (
    :family, :day_us, :granted_nanocredits, :seal
)
ON CONFLICT (family, day_us) DO UPDATE SET
    granted_nanocredits = excluded.granted_nanocredits,
    seal = excluded.seal;

-- name: put_audit
-- Append who asked for a write.
INSERT INTO audit (
    account_id, audit_id, at_us, principal, key_id, operation, object, request_key, request_id, state_before,
    state_after, seal
)
VALUES (
    :account_id, :audit_id, :at_us, :principal, :key_id, :operation, :object, :request_key, :request_id,
    :state_before, :state_after, :seal
);

-- name: put_orders
-- Write an order down, or move it along.
INSERT INTO orders (
    account_id, order_id, kind, product, nanocredits, lots_end, currency, subtotal, edition, mode, instance,
    request, attempt, state, version, customer, session, url, subscription, reason, created_at_us, moved_at_us,
    ends_at_us, seal
)
VALUES (
    :account_id, :order_id, :kind, :product, :nanocredits, :lots_end, :currency, :subtotal, :edition, :mode,
    :instance, :request, :attempt, :state, :version, :customer, :session, :url, :subscription, :reason,
    :created_at_us, :moved_at_us, :ends_at_us, :seal
)
ON CONFLICT (account_id, order_id) DO UPDATE SET
    request = excluded.request,
    attempt = excluded.attempt,
    state = excluded.state,
    version = excluded.version,
    customer = excluded.customer,
    session = excluded.session,
    url = excluded.url,
    subscription = excluded.subscription,
    reason = excluded.reason,
    moved_at_us = excluded.moved_at_us,
    ends_at_us = excluded.ends_at_us,
    seal = excluded.seal;

-- name: put_sales
-- Note a payment and what was granted for it, or move it along.
INSERT INTO sales (
    account_id, sale_id, order_id, source, mode, currency, invoice, payment, captured, reversed, dispute,
    nanocredits, taken_back_nanocredits, withheld_nanocredits, grant_id, version, created_at_us, moved_at_us, seal
)
VALUES (
    :account_id, :sale_id, :order_id, :source, :mode, :currency, :invoice, :payment, :captured, :reversed, :dispute,
    :nanocredits, :taken_back_nanocredits, :withheld_nanocredits, :grant_id, :version, :created_at_us, :moved_at_us,
    :seal
)
ON CONFLICT (account_id, sale_id) DO UPDATE SET
    payment = excluded.payment,
    captured = excluded.captured,
    reversed = excluded.reversed,
    dispute = excluded.dispute,
    nanocredits = excluded.nanocredits,
    taken_back_nanocredits = excluded.taken_back_nanocredits,
    withheld_nanocredits = excluded.withheld_nanocredits,
    grant_id = excluded.grant_id,
    version = excluded.version,
    moved_at_us = excluded.moved_at_us,
    seal = excluded.seal;

-- name: put_customers
-- Note whom the processor knows a user as.
INSERT INTO customers (
    account_id, mode, customer, attempt, created_at_us, moved_at_us, seal
)
VALUES (
    :account_id, :mode, :customer, :attempt, :created_at_us, :moved_at_us, :seal
)
ON CONFLICT (account_id, mode) DO UPDATE SET
    customer = excluded.customer,
    attempt = excluded.attempt,
    moved_at_us = excluded.moved_at_us,
    seal = excluded.seal;

-- name: put_subscriptions
-- Mirror a plan as it stands at the processor.
INSERT INTO subscriptions (
    account_id, subscription, order_id, product, mode, customer, status, is_ending, period_start_us, period_end_us,
    ended_at_us, version, created_at_us, moved_at_us, seal
)
VALUES (
    :account_id, :subscription, :order_id, :product, :mode, :customer, :status, :is_ending, :period_start_us,
    :period_end_us, :ended_at_us, :version, :created_at_us, :moved_at_us, :seal
)
ON CONFLICT (account_id, subscription) DO UPDATE SET
    product = excluded.product,
    customer = excluded.customer,
    status = excluded.status,
    is_ending = excluded.is_ending,
    period_start_us = excluded.period_start_us,
    period_end_us = excluded.period_end_us,
    ended_at_us = excluded.ended_at_us,
    version = excluded.version,
    moved_at_us = excluded.moved_at_us,
    seal = excluded.seal;

-- name: put_inbox
-- Keep a message of the processor's, or move it along.
INSERT INTO inbox (
    account_id, message_id, event_type, object_id, mode, api_version, said_at_us, body, state, attempts,
    claimed_until_us, reason, received_at_us, settled_at_us, seal
)
VALUES (
    :account_id, :message_id, :event_type, :object_id, :mode, :api_version, :said_at_us, :body, :state, :attempts,
    :claimed_until_us, :reason, :received_at_us, :settled_at_us, :seal
)
ON CONFLICT (account_id, message_id) DO UPDATE SET
    state = excluded.state,
    attempts = excluded.attempts,
    claimed_until_us = excluded.claimed_until_us,
    reason = excluded.reason,
    settled_at_us = excluded.settled_at_us,
    seal = excluded.seal;

-- name: put_quarantine
-- Put a payment aside, or note who claimed it.
INSERT INTO quarantine (
    account_id, item_id, mode, owner_id, reason, facts, created_at_us, claimed_at_us, claimed_by, resolution, seal
)
VALUES (
    :account_id, :item_id, :mode, :owner_id, :reason, :facts, :created_at_us, :claimed_at_us, :claimed_by,
    :resolution, :seal
)
ON CONFLICT (account_id, item_id) DO UPDATE SET
    claimed_at_us = excluded.claimed_at_us,
    claimed_by = excluded.claimed_by,
    resolution = excluded.resolution,
    seal = excluded.seal;

-- name: put_installation
-- Keep a fact about this installation.
INSERT INTO installation (
    account_id, name, value, set_at_us, seal
)
VALUES (
    :account_id, :name, :value, :set_at_us, :seal
)
ON CONFLICT (account_id, name) DO UPDATE SET
    value = excluded.value,
    set_at_us = excluded.set_at_us,
    seal = excluded.seal;
