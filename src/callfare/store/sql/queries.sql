-- Queries that every SQL store words alike. A placeholder's name is the field of the question it answers.

-- name: spent_in_open_runs
-- What runs that are not due have drawn.
SELECT coalesce(sum(used_nanocredits), 0)
FROM runs
WHERE account_id = :account_id AND status = 'open' AND expires_at_us > :now_us;

-- name: user_named
-- The user of a name.
SELECT
    "user", account_id, email, stripe_customer_id, created_at_us
FROM identities
WHERE "user" = :user;

-- name: user_of
-- The user behind an account.
SELECT
    "user", account_id, email, stripe_customer_id, created_at_us
FROM identities
WHERE account_id = :account_id;

-- name: runs_named
-- Runs of this id, of any account.
SELECT
    account_id, run_id, workflow, status, on_failure, asked_nanocredits, held_nanocredits, used_nanocredits,
    debt_nanocredits, charged_nanocredits, cost_picousd, calls, unpriced_calls, low_nanocredits,
    high_nanocredits, ttl_s, opened_at_us, expires_at_us, closed_at_us, close_seq, receipt, input, fingerprint
FROM runs
WHERE run_id = :run_id
ORDER BY account_id;

-- name: jobs_named
-- Jobs of this id, of any account.
SELECT
    account_id, job_id, run_id, status, held_nanocredits, charge, created_at_us, expires_at_us, settled_at_us
FROM jobs
WHERE job_id = :job_id
ORDER BY account_id;

-- name: runs_of
-- Runs of an account, newest first.
SELECT
    account_id, run_id, workflow, status, on_failure, asked_nanocredits, held_nanocredits, used_nanocredits,
    debt_nanocredits, charged_nanocredits, cost_picousd, calls, unpriced_calls, low_nanocredits,
    high_nanocredits, ttl_s, opened_at_us, expires_at_us, closed_at_us, close_seq, receipt, input, fingerprint
FROM runs
WHERE account_id = :account_id AND (opened_at_us, run_id) < (:before_us, :before_run_id)
ORDER BY opened_at_us DESC, run_id DESC
LIMIT :limit;

-- name: events_of_run
-- Usage of a run in the order of its calls.
SELECT
    account_id, key, kind, corrects, run_id, workflow, call_number, step, provider, base_url, model, operation,
    response_id, status, flags, reason, nanocredits, picousd, debt_nanocredits, charge_seq, edition, markup,
    usage, counted, attributes, lines, metadata, raw_digest, at_us, recorded_at_us, fingerprint,
    held_after_nanocredits, used_after_nanocredits
FROM events
WHERE account_id = :account_id AND run_id = :run_id AND (call_number, key) > (:after_number, :after_key)
ORDER BY call_number, key
LIMIT :limit;

-- name: events_between
-- Usage of an account in a window of time.
SELECT
    account_id, key, kind, corrects, run_id, workflow, call_number, step, provider, base_url, model, operation,
    response_id, status, flags, reason, nanocredits, picousd, debt_nanocredits, charge_seq, edition, markup,
    usage, counted, attributes, lines, metadata, raw_digest, at_us, recorded_at_us, fingerprint,
    held_after_nanocredits, used_after_nanocredits
FROM events
WHERE account_id = :account_id AND at_us >= :since_us AND at_us < :until_us
ORDER BY at_us, key;

-- name: event_named
-- The usage event under a key.
SELECT
    account_id, key, kind, corrects, run_id, workflow, call_number, step, provider, base_url, model, operation,
    response_id, status, flags, reason, nanocredits, picousd, debt_nanocredits, charge_seq, edition, markup,
    usage, counted, attributes, lines, metadata, raw_digest, at_us, recorded_at_us, fingerprint,
    held_after_nanocredits, used_after_nanocredits
FROM events
WHERE account_id = :account_id AND key = :key;

-- name: unpriced_events
-- Unpriced usage that nothing has repriced.
SELECT
    e.account_id, e.key, e.kind, e.corrects, e.run_id, e.workflow, e.call_number, e.step, e.provider,
    e.base_url, e.model, e.operation, e.response_id, e.status, e.flags, e.reason, e.nanocredits, e.picousd,
    e.debt_nanocredits, e.charge_seq, e.edition, e.markup, e.usage, e.counted, e.attributes, e.lines,
    e.metadata, e.raw_digest, e.at_us, e.recorded_at_us, e.fingerprint, e.held_after_nanocredits,
    e.used_after_nanocredits
FROM events AS e
WHERE
    e.status = 'unpriced' AND e.kind = 'usage' AND (e.account_id, e.key) > (:after_account_id, :after_key)
    AND NOT EXISTS (
        SELECT 1 FROM events AS r
        WHERE r.account_id = e.account_id AND r.key = e.key || '#reprice'
    )
ORDER BY e.account_id, e.key
LIMIT :limit;

-- name: raw_of
-- The provider's own usage object of an event.
SELECT
    account_id, key, recorded_at_us, raw
FROM raw_usage
WHERE account_id = :account_id AND key = :key;

-- name: transfers_of
-- Transfers of an account, newest first.
SELECT
    account_id, seq, kind, amount_nanocredits, entry_count, run_id, reference, at_us
FROM transfers
WHERE account_id = :account_id AND seq < :before_seq
ORDER BY seq DESC
LIMIT :limit;

-- name: entries_of
-- The entries of one transfer.
SELECT
    account_id, seq, position, account_kind, grant_id, amount_nanocredits
FROM entries
WHERE account_id = :account_id AND seq = :seq
ORDER BY position;

-- name: grant_numbered
-- One lot, used up or not.
SELECT
    account_id, grant_id, source, amount_nanocredits, remaining_nanocredits, held_nanocredits, paid_picousd,
    reference, created_at_us, expires_at_us, refunded_nanocredits
FROM grants
WHERE account_id = :account_id AND grant_id = :grant_id;

-- name: key_named
-- What is recorded under an idempotency key.
SELECT
    account_id, key, kind, fingerprint, receipt, at_us
FROM keys
WHERE account_id = :account_id AND key = :key;

-- name: rollups_of
-- Roll-ups of an account and a grain in a window of time.
SELECT
    account_id, grain, start_us, workflow, provider, model, operation, calls, unpriced_calls, nanocredits,
    picousd, units
FROM rollups
WHERE account_id = :account_id AND grain = :grain AND start_us >= :since_us AND start_us < :until_us
ORDER BY start_us, workflow, provider, model, operation;

-- name: scan_identities
-- A page of the table with its seals, in key order, after a key.
SELECT
    "user", account_id, email, stripe_customer_id, created_at_us, seal
FROM identities
WHERE "user" > :user
ORDER BY "user"
LIMIT 1000;

-- name: count_identities
-- How many rows the table has.
SELECT count(*) FROM identities;

-- name: scan_accounts
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, posted_nanocredits, held_nanocredits, debt_nanocredits, last_seq, opened_at_us, seal
FROM accounts
WHERE account_id > :account_id
ORDER BY account_id
LIMIT 1000;

-- name: count_accounts
-- How many rows the table has.
SELECT count(*) FROM accounts;

-- name: scan_grants
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, grant_id, source, amount_nanocredits, remaining_nanocredits, held_nanocredits, paid_picousd,
    reference, created_at_us, expires_at_us, refunded_nanocredits, seal
FROM grants
WHERE (account_id, grant_id) > (:account_id, :grant_id)
ORDER BY account_id, grant_id
LIMIT 1000;

-- name: count_grants
-- How many rows the table has.
SELECT count(*) FROM grants;

-- name: scan_runs
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, run_id, workflow, status, on_failure, asked_nanocredits, held_nanocredits, used_nanocredits,
    debt_nanocredits, charged_nanocredits, cost_picousd, calls, unpriced_calls, low_nanocredits,
    high_nanocredits, ttl_s, opened_at_us, expires_at_us, closed_at_us, close_seq, receipt, input, fingerprint,
    seal
FROM runs
WHERE (account_id, run_id) > (:account_id, :run_id)
ORDER BY account_id, run_id
LIMIT 1000;

-- name: count_runs
-- How many rows the table has.
SELECT count(*) FROM runs;

-- name: scan_holds
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, hold_id, grant_id, amount_nanocredits, seal
FROM holds
WHERE (account_id, hold_id, grant_id) > (:account_id, :hold_id, :grant_id)
ORDER BY account_id, hold_id, grant_id
LIMIT 1000;

-- name: count_holds
-- How many rows the table has.
SELECT count(*) FROM holds;

-- name: scan_jobs
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, job_id, run_id, status, held_nanocredits, charge, created_at_us, expires_at_us, settled_at_us,
    seal
FROM jobs
WHERE (account_id, job_id) > (:account_id, :job_id)
ORDER BY account_id, job_id
LIMIT 1000;

-- name: count_jobs
-- How many rows the table has.
SELECT count(*) FROM jobs;

-- name: scan_transfers
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, seq, kind, amount_nanocredits, entry_count, run_id, reference, at_us, seal
FROM transfers
WHERE (account_id, seq) > (:account_id, :seq)
ORDER BY account_id, seq
LIMIT 1000;

-- name: count_transfers
-- How many rows the table has.
SELECT count(*) FROM transfers;

-- name: scan_entries
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, seq, position, account_kind, grant_id, amount_nanocredits, seal
FROM entries
WHERE (account_id, seq, position) > (:account_id, :seq, :position)
ORDER BY account_id, seq, position
LIMIT 1000;

-- name: count_entries
-- How many rows the table has.
SELECT count(*) FROM entries;

-- name: scan_events
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, key, kind, corrects, run_id, workflow, call_number, step, provider, base_url, model, operation,
    response_id, status, flags, reason, nanocredits, picousd, debt_nanocredits, charge_seq, edition, markup,
    usage, counted, attributes, lines, metadata, raw_digest, at_us, recorded_at_us, fingerprint,
    held_after_nanocredits, used_after_nanocredits, seal
FROM events
WHERE (account_id, key) > (:account_id, :key)
ORDER BY account_id, key
LIMIT 1000;

-- name: count_events
-- How many rows the table has.
SELECT count(*) FROM events;

-- name: scan_raw_usage
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, key, recorded_at_us, raw, seal
FROM raw_usage
WHERE (account_id, key) > (:account_id, :key)
ORDER BY account_id, key
LIMIT 1000;

-- name: count_raw_usage
-- How many rows the table has.
SELECT count(*) FROM raw_usage;

-- name: scan_keys
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, key, kind, fingerprint, receipt, at_us, seal
FROM keys
WHERE (account_id, key) > (:account_id, :key)
ORDER BY account_id, key
LIMIT 1000;

-- name: count_keys
-- How many rows the table has.
SELECT count(*) FROM keys;

-- name: scan_rollups
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, grain, start_us, workflow, provider, model, operation, calls, unpriced_calls, nanocredits,
    picousd, units, seal
FROM rollups
WHERE
    (account_id, grain, start_us, workflow, provider, model, operation)
    > (:account_id, :grain, :start_us, :workflow, :provider, :model, :operation)
ORDER BY account_id, grain, start_us, workflow, provider, model, operation
LIMIT 1000;

-- name: count_rollups
-- How many rows the table has.
SELECT count(*) FROM rollups;

-- name: load_account
-- An account's totals.
SELECT
    account_id, posted_nanocredits, held_nanocredits, debt_nanocredits, last_seq, opened_at_us
FROM accounts
WHERE account_id = :account_id;

-- name: load_run
-- One run of one account.
SELECT
    account_id, run_id, workflow, status, on_failure, asked_nanocredits, held_nanocredits, used_nanocredits,
    debt_nanocredits, charged_nanocredits, cost_picousd, calls, unpriced_calls, low_nanocredits,
    high_nanocredits, ttl_s, opened_at_us, expires_at_us, closed_at_us, close_seq, receipt, input, fingerprint
FROM runs
WHERE account_id = :account_id AND run_id = :run_id;

-- name: load_due_runs
-- Open runs past their time.
SELECT
    account_id, run_id, workflow, status, on_failure, asked_nanocredits, held_nanocredits, used_nanocredits,
    debt_nanocredits, charged_nanocredits, cost_picousd, calls, unpriced_calls, low_nanocredits,
    high_nanocredits, ttl_s, opened_at_us, expires_at_us, closed_at_us, close_seq, receipt, input, fingerprint
FROM runs
WHERE account_id = :account_id AND status = 'open' AND expires_at_us <= :now_us;

-- name: load_due_jobs
-- Pending jobs past their time.
SELECT
    account_id, job_id, run_id, status, held_nanocredits, charge, created_at_us, expires_at_us, settled_at_us
FROM jobs
WHERE account_id = :account_id AND status = 'pending' AND expires_at_us <= :now_us;

-- name: scan_retention
-- A page of the table with its seals, in key order, after a key.
SELECT
    kind, before_us, set_at_us, seal
FROM retention
WHERE kind > :kind
ORDER BY kind
LIMIT 1000;

-- name: count_retention
-- How many rows the table has.
SELECT count(*) FROM retention;

-- name: retention_of
-- How far back rows of a kind are kept.
SELECT
    kind, before_us, set_at_us
FROM retention
WHERE kind = :kind;

-- name: raw_times
-- When raw usage was recorded: a page in key order, after a key.
SELECT
    account_id, key, recorded_at_us
FROM raw_usage
WHERE (account_id, key) > (:account_id, :key)
ORDER BY account_id, key
LIMIT 2000;

-- name: scan_api_keys
-- A page of the table with its seals, in key order, after a key.
SELECT
    key_id, family, mode, label, scopes, digest, pepper, "user", networks, grant_cap_nanocredits, created_at_us,
    expires_at_us, revoked_at_us, rolled_to, used_at_us, seal
FROM api_keys
WHERE key_id > :key_id
ORDER BY key_id
LIMIT 1000;

-- name: count_api_keys
-- How many rows the table has.
SELECT count(*) FROM api_keys;

-- name: scan_key_days
-- A page of the table with its seals, in key order, after a key.
SELECT
    family, day_us, granted_nanocredits, seal
FROM key_days
WHERE (family, day_us) > (:family, :day_us)
ORDER BY family, day_us
LIMIT 1000;

-- name: count_key_days
-- How many rows the table has.
SELECT count(*) FROM key_days;

-- name: scan_audit
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, audit_id, at_us, principal, key_id, operation, object, request_key, request_id, state_before,
    state_after, seal
FROM audit
WHERE (account_id, audit_id) > (:account_id, :audit_id)
ORDER BY account_id, audit_id
LIMIT 1000;

-- name: count_audit
-- How many rows the table has.
SELECT count(*) FROM audit;

-- name: api_key_named
-- One API key.
SELECT
    key_id, family, mode, label, scopes, digest, pepper, "user", networks, grant_cap_nanocredits, created_at_us,
    expires_at_us, revoked_at_us, rolled_to, used_at_us
FROM api_keys
WHERE key_id = :key_id;

-- name: api_keys_after
-- API keys in the order of their ids, after one.
SELECT
    key_id, family, mode, label, scopes, digest, pepper, "user", networks, grant_cap_nanocredits, created_at_us,
    expires_at_us, revoked_at_us, rolled_to, used_at_us
FROM api_keys
WHERE key_id > :after_key_id
ORDER BY key_id
LIMIT :limit;

-- name: key_day_of
-- What the keys of a family have granted in a UTC day.
SELECT
    family, day_us, granted_nanocredits
FROM key_days
WHERE family = :family AND day_us = :day_us;

-- name: audit_before
-- Who asked for what, newest first.
SELECT
    account_id, audit_id, at_us, principal, key_id, operation, object, request_key, request_id, state_before,
    state_after
FROM audit
WHERE audit_id < :before_id
ORDER BY audit_id DESC
LIMIT :limit;

-- name: audit_of
-- Who asked for what on one account, newest first.
SELECT
    account_id, audit_id, at_us, principal, key_id, operation, object, request_key, request_id, state_before,
    state_after
FROM audit
WHERE account_id = :account_id AND audit_id < :before_id
ORDER BY audit_id DESC
LIMIT :limit;

-- name: scan_orders
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, order_id, kind, product, nanocredits, lots_end, currency, subtotal, edition, mode, instance,
    request, attempt, state, version, customer, session, url, subscription, reason, created_at_us, moved_at_us,
    ends_at_us, seal
FROM orders
WHERE (account_id, order_id) > (:account_id, :order_id)
ORDER BY account_id, order_id
LIMIT 1000;

-- name: count_orders
-- How many rows the table has.
SELECT count(*) FROM orders;

-- name: load_orders
-- One row by its key.
SELECT
    account_id, order_id, kind, product, nanocredits, lots_end, currency, subtotal, edition, mode, instance,
    request, attempt, state, version, customer, session, url, subscription, reason, created_at_us, moved_at_us,
    ends_at_us
FROM orders
WHERE account_id = :account_id AND order_id = :order_id;

-- name: scan_sales
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, sale_id, order_id, source, mode, currency, invoice, payment, captured, reversed, dispute,
    nanocredits, taken_back_nanocredits, withheld_nanocredits, grant_id, version, created_at_us, moved_at_us, seal
FROM sales
WHERE (account_id, sale_id) > (:account_id, :sale_id)
ORDER BY account_id, sale_id
LIMIT 1000;

-- name: count_sales
-- How many rows the table has.
SELECT count(*) FROM sales;

-- name: load_sales
-- One row by its key.
SELECT
    account_id, sale_id, order_id, source, mode, currency, invoice, payment, captured, reversed, dispute,
    nanocredits, taken_back_nanocredits, withheld_nanocredits, grant_id, version, created_at_us, moved_at_us
FROM sales
WHERE account_id = :account_id AND sale_id = :sale_id;

-- name: scan_customers
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, mode, customer, attempt, created_at_us, moved_at_us, seal
FROM customers
WHERE (account_id, mode) > (:account_id, :mode)
ORDER BY account_id, mode
LIMIT 1000;

-- name: count_customers
-- How many rows the table has.
SELECT count(*) FROM customers;

-- name: load_customers
-- One row by its key.
SELECT
    account_id, mode, customer, attempt, created_at_us, moved_at_us
FROM customers
WHERE account_id = :account_id AND mode = :mode;

-- name: scan_subscriptions
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, subscription, order_id, product, mode, customer, status, is_ending, period_start_us, period_end_us,
    ended_at_us, version, created_at_us, moved_at_us, seal
FROM subscriptions
WHERE (account_id, subscription) > (:account_id, :subscription)
ORDER BY account_id, subscription
LIMIT 1000;

-- name: count_subscriptions
-- How many rows the table has.
SELECT count(*) FROM subscriptions;

-- name: load_subscriptions
-- One row by its key.
SELECT
    account_id, subscription, order_id, product, mode, customer, status, is_ending, period_start_us, period_end_us,
    ended_at_us, version, created_at_us, moved_at_us
FROM subscriptions
WHERE account_id = :account_id AND subscription = :subscription;

-- name: scan_inbox
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, message_id, event_type, object_id, mode, api_version, said_at_us, body, state, attempts,
    claimed_until_us, reason, received_at_us, settled_at_us, seal
FROM inbox
WHERE (account_id, message_id) > (:account_id, :message_id)
ORDER BY account_id, message_id
LIMIT 1000;

-- name: count_inbox
-- How many rows the table has.
SELECT count(*) FROM inbox;

-- name: load_inbox
-- One row by its key.
SELECT
    account_id, message_id, event_type, object_id, mode, api_version, said_at_us, body, state, attempts,
    claimed_until_us, reason, received_at_us, settled_at_us
FROM inbox
WHERE account_id = :account_id AND message_id = :message_id;

-- name: scan_quarantine
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, item_id, mode, owner_id, reason, facts, created_at_us, claimed_at_us, claimed_by, resolution, seal
FROM quarantine
WHERE (account_id, item_id) > (:account_id, :item_id)
ORDER BY account_id, item_id
LIMIT 1000;

-- name: count_quarantine
-- How many rows the table has.
SELECT count(*) FROM quarantine;

-- name: load_quarantine
-- One row by its key.
SELECT
    account_id, item_id, mode, owner_id, reason, facts, created_at_us, claimed_at_us, claimed_by, resolution
FROM quarantine
WHERE account_id = :account_id AND item_id = :item_id;

-- name: scan_installation
-- A page of the table with its seals, in key order, after a key.
SELECT
    account_id, name, value, set_at_us, seal
FROM installation
WHERE (account_id, name) > (:account_id, :name)
ORDER BY account_id, name
LIMIT 1000;

-- name: count_installation
-- How many rows the table has.
SELECT count(*) FROM installation;

-- name: load_installation
-- One row by its key.
SELECT
    account_id, name, value, set_at_us
FROM installation
WHERE account_id = :account_id AND name = :name;

-- name: unsettled_orders
-- Orders whose end nobody has seen, and that were last moved before a time: a page in key order.
SELECT
    account_id, order_id, kind, product, nanocredits, lots_end, currency, subtotal, edition, mode, instance,
    request, attempt, state, version, customer, session, url, subscription, reason, created_at_us, moved_at_us,
    ends_at_us
FROM orders
WHERE
    state IN ('created', 'open', 'awaiting_payment') AND moved_at_us < :before_us
    AND (account_id, order_id) > (:after_account_id, :after_order_id)
ORDER BY account_id, order_id
LIMIT :limit;

-- name: sales_paid_by
-- What was granted for a payment.
SELECT
    account_id, sale_id, order_id, source, mode, currency, invoice, payment, captured, reversed, dispute,
    nanocredits, taken_back_nanocredits, withheld_nanocredits, grant_id, version, created_at_us, moved_at_us
FROM sales
WHERE payment = :payment
ORDER BY account_id, sale_id;

-- name: subscriptions_of
-- The plans of an account, the latest last.
SELECT
    account_id, subscription, order_id, product, mode, customer, status, is_ending, period_start_us, period_end_us,
    ended_at_us, version, created_at_us, moved_at_us
FROM subscriptions
WHERE account_id = :account_id
ORDER BY created_at_us, subscription;

-- name: live_subscriptions
-- Plans that have not ended: a page in key order.
SELECT
    account_id, subscription, order_id, product, mode, customer, status, is_ending, period_start_us, period_end_us,
    ended_at_us, version, created_at_us, moved_at_us
FROM subscriptions
WHERE
    ended_at_us IS NULL AND (account_id, subscription) > (:after_account_id, :after_subscription)
ORDER BY account_id, subscription
LIMIT :limit;

-- name: inbox_due
-- Messages that wait and that nobody has now, the longest waiting first.
SELECT
    account_id, message_id, event_type, object_id, mode, api_version, said_at_us, body, state, attempts,
    claimed_until_us, reason, received_at_us, settled_at_us
FROM inbox
WHERE account_id = 0 AND state = 'waiting' AND claimed_until_us <= :now_us
ORDER BY claimed_until_us, message_id
LIMIT :limit;

-- name: quarantine_after
-- What is in quarantine, in the order of its ids, after one.
SELECT
    account_id, item_id, mode, owner_id, reason, facts, created_at_us, claimed_at_us, claimed_by, resolution
FROM quarantine
WHERE account_id = 0 AND item_id > :after_item_id
ORDER BY item_id
LIMIT :limit;

-- name: orders_of
-- Orders of an account, newest first.
SELECT
    account_id, order_id, kind, product, nanocredits, lots_end, currency, subtotal, edition, mode, instance,
    request, attempt, state, version, customer, session, url, subscription, reason, created_at_us, moved_at_us,
    ends_at_us
FROM orders
WHERE account_id = :account_id
ORDER BY created_at_us DESC, order_id DESC
LIMIT :limit;
