-- The ledger. Amounts are nanocredits or picodollars, instants are microseconds since 1970 in UTC.
-- The account leads every primary key; `seal` is a digest of the row, so that a changed value shows.

CREATE TABLE identities (
    user TEXT PRIMARY KEY,
    account_id INTEGER NOT NULL,
    email TEXT,
    stripe_customer_id TEXT,
    created_at_us INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX identities_by_account ON identities (account_id);

CREATE TABLE accounts (
    account_id INTEGER PRIMARY KEY,
    posted_nanocredits INTEGER NOT NULL,
    held_nanocredits INTEGER NOT NULL,
    debt_nanocredits INTEGER NOT NULL CHECK (debt_nanocredits >= 0),
    last_seq INTEGER NOT NULL CHECK (last_seq >= 0),
    opened_at_us INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    CHECK (held_nanocredits BETWEEN 0 AND posted_nanocredits)
) STRICT;

CREATE TABLE grants (
    account_id INTEGER NOT NULL,
    grant_id INTEGER NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('purchase', 'promo', 'plan', 'adjustment')),
    amount_nanocredits INTEGER NOT NULL CHECK (amount_nanocredits > 0),
    remaining_nanocredits INTEGER NOT NULL,
    held_nanocredits INTEGER NOT NULL,
    paid_picousd INTEGER,
    reference TEXT,
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER,
    refunded_nanocredits INTEGER NOT NULL CHECK (refunded_nanocredits BETWEEN 0 AND amount_nanocredits),
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, grant_id),
    CHECK (remaining_nanocredits BETWEEN 0 AND amount_nanocredits),
    CHECK (held_nanocredits BETWEEN 0 AND remaining_nanocredits)
) STRICT, WITHOUT ROWID;

CREATE INDEX live_grants ON grants (account_id, grant_id) WHERE remaining_nanocredits > 0;

CREATE TABLE runs (
    account_id INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    workflow TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'completed', 'failed', 'cancelled', 'expired')),
    on_failure TEXT NOT NULL CHECK (on_failure IN ('charge', 'waive')),
    asked_nanocredits INTEGER NOT NULL CHECK (asked_nanocredits >= 0),
    held_nanocredits INTEGER NOT NULL CHECK (held_nanocredits >= 0),
    used_nanocredits INTEGER NOT NULL CHECK (used_nanocredits >= 0),
    debt_nanocredits INTEGER NOT NULL CHECK (debt_nanocredits >= 0),
    charged_nanocredits INTEGER NOT NULL,
    cost_picousd INTEGER NOT NULL,
    calls INTEGER NOT NULL CHECK (calls >= 0),
    unpriced_calls INTEGER NOT NULL,
    low_nanocredits INTEGER,
    high_nanocredits INTEGER,
    ttl_s INTEGER NOT NULL CHECK (ttl_s > 0),
    opened_at_us INTEGER NOT NULL,
    expires_at_us INTEGER NOT NULL,
    closed_at_us INTEGER,
    close_seq INTEGER,
    receipt TEXT,
    input TEXT,
    fingerprint INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, run_id),
    CHECK (status <> 'open' OR used_nanocredits <= held_nanocredits)
) STRICT, WITHOUT ROWID;

CREATE INDEX runs_by_name ON runs (run_id);
CREATE INDEX runs_by_opening ON runs (account_id, opened_at_us, run_id);
CREATE INDEX open_runs ON runs (account_id, expires_at_us) WHERE status = 'open';

CREATE TABLE holds (
    account_id INTEGER NOT NULL,
    hold_id TEXT NOT NULL,
    grant_id INTEGER NOT NULL,
    amount_nanocredits INTEGER NOT NULL CHECK (amount_nanocredits > 0),
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, hold_id, grant_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    account_id INTEGER NOT NULL,
    job_id TEXT NOT NULL,
    run_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('pending', 'completed', 'failed', 'expired')),
    held_nanocredits INTEGER NOT NULL CHECK (held_nanocredits >= 0),
    charge TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER NOT NULL,
    settled_at_us INTEGER,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, job_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX jobs_by_name ON jobs (job_id);
CREATE INDEX pending_jobs ON jobs (account_id, expires_at_us) WHERE status = 'pending';

CREATE TABLE transfers (
    account_id INTEGER NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    kind TEXT NOT NULL,
    amount_nanocredits INTEGER NOT NULL CHECK (amount_nanocredits >= 0),
    entry_count INTEGER NOT NULL,
    run_id TEXT,
    reference TEXT,
    at_us INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
    account_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    position INTEGER NOT NULL,
    account_kind TEXT NOT NULL
    CHECK (account_kind IN ('customer', 'receivable', 'sales', 'promo', 'revenue', 'breakage')),
    grant_id INTEGER,
    amount_nanocredits INTEGER NOT NULL CHECK (amount_nanocredits <> 0),
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, seq, position),
    CHECK ((account_kind = 'customer') = (grant_id IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    account_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('usage', 'correction', 'reprice', 'waiver')),
    corrects TEXT,
    run_id TEXT,
    workflow TEXT NOT NULL,
    call_number INTEGER NOT NULL,
    step TEXT,
    provider TEXT NOT NULL,
    base_url TEXT NOT NULL,
    model TEXT NOT NULL,
    operation TEXT NOT NULL,
    response_id TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('priced', 'unpriced')),
    flags TEXT NOT NULL,
    reason TEXT,
    nanocredits INTEGER NOT NULL,
    picousd INTEGER NOT NULL,
    debt_nanocredits INTEGER NOT NULL CHECK (debt_nanocredits >= 0),
    charge_seq INTEGER,
    edition TEXT NOT NULL,
    markup TEXT NOT NULL,
    usage TEXT NOT NULL,
    counted TEXT,
    attributes TEXT NOT NULL,
    lines TEXT NOT NULL,
    metadata TEXT,
    raw_digest INTEGER,
    at_us INTEGER NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    fingerprint INTEGER NOT NULL,
    held_after_nanocredits INTEGER NOT NULL,
    used_after_nanocredits INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, key)
) STRICT;

CREATE INDEX events_by_time ON events (account_id, at_us);
CREATE INDEX events_by_run ON events (account_id, run_id, call_number) WHERE run_id IS NOT NULL;
CREATE INDEX unpriced_events ON events (account_id, key) WHERE status = 'unpriced';

CREATE TABLE raw_usage (
    account_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    recorded_at_us INTEGER NOT NULL,
    raw TEXT NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, key)
) STRICT;

CREATE TABLE keys (
    account_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    fingerprint INTEGER NOT NULL,
    receipt TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollups (
    account_id INTEGER NOT NULL,
    grain TEXT NOT NULL CHECK (grain IN ('quarter', 'day')),
    start_us INTEGER NOT NULL,
    workflow TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    operation TEXT NOT NULL,
    calls INTEGER NOT NULL,
    unpriced_calls INTEGER NOT NULL,
    nanocredits INTEGER NOT NULL,
    picousd TEXT NOT NULL,
    units TEXT NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, grain, start_us, workflow, provider, model, operation)
) STRICT, WITHOUT ROWID;

-- History is only ever added. Raw usage may be dropped by age, never altered.
CREATE TRIGGER transfers_stay BEFORE UPDATE ON transfers
BEGIN
    SELECT RAISE(ABORT, 'transfers are history: add a transfer that reverses this one');
END;

CREATE TRIGGER transfers_last BEFORE DELETE ON transfers
BEGIN
    SELECT RAISE(ABORT, 'transfers are history: add a transfer that reverses this one');
END;

CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
BEGIN
    SELECT RAISE(ABORT, 'entries are history');
END;

CREATE TRIGGER entries_last BEFORE DELETE ON entries
BEGIN
    SELECT RAISE(ABORT, 'entries are history');
END;

CREATE TRIGGER events_stay BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'usage events are history: add a correction');
END;

CREATE TRIGGER events_last BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'usage events are history: add a correction');
END;

CREATE TRIGGER keys_stay BEFORE UPDATE ON keys
BEGIN
    SELECT RAISE(ABORT, 'keys are history');
END;

CREATE TRIGGER keys_last BEFORE DELETE ON keys
BEGIN
    SELECT RAISE(ABORT, 'keys are history');
END;

CREATE TRIGGER raw_usage_stay BEFORE UPDATE ON raw_usage
BEGIN
    SELECT RAISE(ABORT, 'raw usage is history');
END;

-- The four tables of the specification, under its names, for reading.
-- creditsBalance leaves out lots past their expiry; a run past its time counts as held until the next write.
CREATE VIEW users AS
SELECT
    i.user AS externalId,
    i.email AS email,
    i.stripe_customer_id AS stripeCustomerId,
    printf('%d.%09d', a.available / 1000000000, a.available % 1000000000) AS creditsBalance
FROM identities AS i
INNER JOIN (
    SELECT
        t.account_id,
        t.posted_nanocredits - t.held_nanocredits - coalesce((
            SELECT sum(g.remaining_nanocredits - g.held_nanocredits)
            FROM grants AS g
            WHERE
                g.account_id = t.account_id
                AND g.remaining_nanocredits > 0
                AND g.expires_at_us <= CAST(unixepoch('subsec') * 1000000 AS INTEGER)
        ), 0) AS available
    FROM accounts AS t
) AS a ON i.account_id = a.account_id;

CREATE VIEW workflow_runs AS
SELECT
    i.user AS userId,
    r.run_id AS runId,
    r.workflow AS workflowType,
    r.status AS status,
    printf('%d.%010d', r.cost_picousd / 10000000000, r.cost_picousd % 10000000000) AS totalCostCents,
    r.calls AS calls,
    r.opened_at_us / 1000 AS startedAt,
    r.closed_at_us / 1000 AS completedAt
FROM runs AS r
INNER JOIN identities AS i ON r.account_id = i.account_id;

CREATE VIEW usage_events AS
SELECT
    i.user AS userId,
    e.run_id AS runId,
    e.provider AS service,
    e.model AS model,
    e.operation AS operation,
    e.usage AS usage,
    CAST(json_extract(e.usage, '$.input_tokens') AS INTEGER) AS inputTokens,
    CAST(json_extract(e.usage, '$.output_tokens') AS INTEGER) AS outputTokens,
    coalesce(json_extract(e.usage, '$.audio_seconds'), json_extract(e.usage, '$.video_seconds')) AS durationSeconds,
    printf(
        '%s%d.%010d', CASE WHEN e.picousd < 0 THEN '-' ELSE '' END,
        abs(e.picousd) / 10000000000, abs(e.picousd) % 10000000000
    ) AS costCents,
    e.status AS status,
    e.at_us / 1000 AS timestamp
FROM events AS e
INNER JOIN identities AS i ON e.account_id = i.account_id;

CREATE VIEW transactions AS
SELECT
    i.user AS userId,
    t.seq AS number,
    t.kind AS type,
    printf('%d.%09d', t.amount_nanocredits / 1000000000, t.amount_nanocredits % 1000000000) AS credits,
    g.paid_picousd / 10000000000 AS amountCents,
    t.reference AS reference,
    t.run_id AS runId,
    t.at_us / 1000 AS createdAt
FROM transfers AS t
INNER JOIN identities AS i ON t.account_id = i.account_id
LEFT JOIN grants AS g ON t.account_id = g.account_id AND t.seq = g.grant_id;
