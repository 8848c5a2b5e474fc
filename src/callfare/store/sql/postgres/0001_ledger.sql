-- The ledger. Amounts are nanocredits or picodollars, instants are microseconds since 1970 in UTC.
-- The account leads every primary key; `seal` is a digest of the row, so that a changed value shows.

CREATE TABLE identities (
    "user" TEXT COLLATE "C" PRIMARY KEY,
    account_id BIGINT NOT NULL,
    email TEXT COLLATE "C",
    stripe_customer_id TEXT COLLATE "C",
    created_at_us BIGINT NOT NULL,
    seal BIGINT NOT NULL
);

CREATE UNIQUE INDEX identities_by_account ON identities (account_id);

CREATE TABLE accounts (
    account_id BIGINT PRIMARY KEY,
    posted_nanocredits BIGINT NOT NULL,
    held_nanocredits BIGINT NOT NULL,
    debt_nanocredits BIGINT NOT NULL CHECK (debt_nanocredits >= 0),
    last_seq BIGINT NOT NULL CHECK (last_seq >= 0),
    opened_at_us BIGINT NOT NULL,
    seal BIGINT NOT NULL,
    CHECK (held_nanocredits BETWEEN 0 AND posted_nanocredits)
) WITH (fillfactor = 70);

CREATE TABLE grants (
    account_id BIGINT NOT NULL,
    grant_id BIGINT NOT NULL,
    source TEXT COLLATE "C" NOT NULL CHECK (source IN ('purchase', 'promo', 'plan', 'adjustment')),
    amount_nanocredits BIGINT NOT NULL CHECK (amount_nanocredits > 0),
    remaining_nanocredits BIGINT NOT NULL,
    held_nanocredits BIGINT NOT NULL,
    paid_picousd BIGINT,
    reference TEXT COLLATE "C",
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT,
    refunded_nanocredits BIGINT NOT NULL CHECK (refunded_nanocredits BETWEEN 0 AND amount_nanocredits),
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, grant_id),
    CHECK (remaining_nanocredits BETWEEN 0 AND amount_nanocredits),
    CHECK (held_nanocredits BETWEEN 0 AND remaining_nanocredits)
) WITH (fillfactor = 70);

CREATE INDEX live_grants ON grants (account_id, grant_id) WHERE remaining_nanocredits > 0;

CREATE TABLE runs (
    account_id BIGINT NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    workflow TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL CHECK (status IN ('open', 'completed', 'failed', 'cancelled', 'expired')),
    on_failure TEXT COLLATE "C" NOT NULL CHECK (on_failure IN ('charge', 'waive')),
    asked_nanocredits BIGINT NOT NULL CHECK (asked_nanocredits >= 0),
    held_nanocredits BIGINT NOT NULL CHECK (held_nanocredits >= 0),
    used_nanocredits BIGINT NOT NULL CHECK (used_nanocredits >= 0),
    debt_nanocredits BIGINT NOT NULL CHECK (debt_nanocredits >= 0),
    charged_nanocredits BIGINT NOT NULL,
    cost_picousd BIGINT NOT NULL,
    calls BIGINT NOT NULL CHECK (calls >= 0),
    unpriced_calls BIGINT NOT NULL,
    low_nanocredits BIGINT,
    high_nanocredits BIGINT,
    ttl_s BIGINT NOT NULL CHECK (ttl_s > 0),
    opened_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    closed_at_us BIGINT,
    close_seq BIGINT,
    receipt TEXT COLLATE "C",
    input TEXT COLLATE "C",
    fingerprint BIGINT NOT NULL,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, run_id),
    CHECK (status <> 'open' OR used_nanocredits <= held_nanocredits)
) WITH (fillfactor = 70);

CREATE INDEX runs_by_name ON runs (run_id);
CREATE INDEX runs_by_opening ON runs (account_id, opened_at_us, run_id);
CREATE INDEX open_runs ON runs (account_id, expires_at_us) WHERE status = 'open';

CREATE TABLE holds (
    account_id BIGINT NOT NULL,
    hold_id TEXT COLLATE "C" NOT NULL,
    grant_id BIGINT NOT NULL,
    amount_nanocredits BIGINT NOT NULL CHECK (amount_nanocredits > 0),
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, hold_id, grant_id)
);

CREATE TABLE jobs (
    account_id BIGINT NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C",
    status TEXT COLLATE "C" NOT NULL CHECK (status IN ('pending', 'completed', 'failed', 'expired')),
    held_nanocredits BIGINT NOT NULL CHECK (held_nanocredits >= 0),
    charge TEXT COLLATE "C" NOT NULL,
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    settled_at_us BIGINT,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, job_id)
);

CREATE INDEX jobs_by_name ON jobs (job_id);
CREATE INDEX pending_jobs ON jobs (account_id, expires_at_us) WHERE status = 'pending';

CREATE TABLE transfers (
    account_id BIGINT NOT NULL,
    seq BIGINT NOT NULL CHECK (seq > 0),
    kind TEXT COLLATE "C" NOT NULL,
    amount_nanocredits BIGINT NOT NULL CHECK (amount_nanocredits >= 0),
    entry_count BIGINT NOT NULL,
    run_id TEXT COLLATE "C",
    reference TEXT COLLATE "C",
    at_us BIGINT NOT NULL,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, seq)
);

CREATE TABLE entries (
    account_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    position BIGINT NOT NULL,
    account_kind TEXT COLLATE "C" NOT NULL
    CHECK (account_kind IN ('customer', 'receivable', 'sales', 'promo', 'revenue', 'breakage')),
    grant_id BIGINT,
    amount_nanocredits BIGINT NOT NULL CHECK (amount_nanocredits <> 0),
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, seq, position),
    CHECK ((account_kind = 'customer') = (grant_id IS NOT NULL))
);

CREATE TABLE events (
    account_id BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('usage', 'correction', 'reprice', 'waiver')),
    corrects TEXT COLLATE "C",
    run_id TEXT COLLATE "C",
    workflow TEXT COLLATE "C" NOT NULL,
    call_number BIGINT NOT NULL,
    step TEXT COLLATE "C",
    provider TEXT COLLATE "C" NOT NULL,
    base_url TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    operation TEXT COLLATE "C" NOT NULL,
    response_id TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL CHECK (status IN ('priced', 'unpriced')),
    flags TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C",
    nanocredits BIGINT NOT NULL,
    picousd BIGINT NOT NULL,
    debt_nanocredits BIGINT NOT NULL CHECK (debt_nanocredits >= 0),
    charge_seq BIGINT,
    edition TEXT COLLATE "C" NOT NULL,
    markup TEXT COLLATE "C" NOT NULL,
    usage TEXT COLLATE "C" NOT NULL,
    counted TEXT COLLATE "C",
    attributes TEXT COLLATE "C" NOT NULL,
    lines TEXT COLLATE "C" NOT NULL,
    metadata TEXT COLLATE "C",
    raw_digest BIGINT,
    at_us BIGINT NOT NULL,
    recorded_at_us BIGINT NOT NULL,
    fingerprint BIGINT NOT NULL,
    held_after_nanocredits BIGINT NOT NULL,
    used_after_nanocredits BIGINT NOT NULL,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, key)
);

CREATE INDEX events_by_time ON events (account_id, at_us);
CREATE INDEX events_by_run ON events (account_id, run_id, call_number) WHERE run_id IS NOT NULL;
CREATE INDEX unpriced_events ON events (account_id, key) WHERE status = 'unpriced';

CREATE TABLE raw_usage (
    account_id BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    recorded_at_us BIGINT NOT NULL,
    raw TEXT COLLATE "C" NOT NULL,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, key)
);

CREATE TABLE keys (
    account_id BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    fingerprint BIGINT NOT NULL,
    receipt TEXT COLLATE "C" NOT NULL,
    at_us BIGINT NOT NULL,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, key)
);

CREATE TABLE rollups (
    account_id BIGINT NOT NULL,
    grain TEXT COLLATE "C" NOT NULL CHECK (grain IN ('quarter', 'day')),
    start_us BIGINT NOT NULL,
    workflow TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    operation TEXT COLLATE "C" NOT NULL,
    calls BIGINT NOT NULL,
    unpriced_calls BIGINT NOT NULL,
    nanocredits BIGINT NOT NULL,
    picousd TEXT COLLATE "C" NOT NULL,
    units TEXT COLLATE "C" NOT NULL,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, grain, start_us, workflow, provider, model, operation)
) WITH (fillfactor = 70);

-- History is only ever added. Raw usage may be dropped by age, never altered.
CREATE FUNCTION refuse_change() RETURNS TRIGGER
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is history: add a row that corrects it', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER transfers_stay BEFORE UPDATE OR DELETE ON transfers
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE ON entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER events_stay BEFORE UPDATE OR DELETE ON events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER keys_stay BEFORE UPDATE OR DELETE ON keys
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER raw_usage_stay BEFORE UPDATE ON raw_usage
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The four tables of the specification, under its names, for reading.
-- creditsBalance leaves out lots past their expiry; a run past its time counts as held until the next write.
CREATE VIEW users AS
SELECT
    i."user" AS "externalId",
    i.email,
    i.stripe_customer_id AS "stripeCustomerId",
    (a.posted_nanocredits - a.held_nanocredits - coalesce((
        SELECT sum(g.remaining_nanocredits - g.held_nanocredits)
        FROM grants AS g
        WHERE
            g.account_id = a.account_id
            AND g.remaining_nanocredits > 0
            AND g.expires_at_us <= extract(EPOCH FROM clock_timestamp()) * 1000000
    ), 0)) / 1000000000.0 AS "creditsBalance"
FROM identities AS i
INNER JOIN accounts AS a ON i.account_id = a.account_id;

CREATE VIEW workflow_runs AS
SELECT
    i."user" AS "userId",
    r.run_id AS "runId",
    r.workflow AS "workflowType",
    r.status,
    r.cost_picousd / 10000000000.0 AS "totalCostCents",
    r.calls,
    r.opened_at_us / 1000 AS "startedAt",
    r.closed_at_us / 1000 AS "completedAt"
FROM runs AS r
INNER JOIN identities AS i ON r.account_id = i.account_id;

CREATE VIEW usage_events AS
SELECT
    i."user" AS "userId",
    e.run_id AS "runId",
    e.provider AS service,
    e.model,
    e.operation,
    e.usage,
    CAST(CAST(e.usage AS JSON) ->> 'input_tokens' AS BIGINT) AS "inputTokens",
    CAST(CAST(e.usage AS JSON) ->> 'output_tokens' AS BIGINT) AS "outputTokens",
    coalesce(CAST(e.usage AS JSON) ->> 'audio_seconds', CAST(e.usage AS JSON) ->> 'video_seconds') AS "durationSeconds",
    e.picousd / 10000000000.0 AS "costCents",
    e.status,
    e.at_us / 1000 AS "timestamp"
FROM events AS e
INNER JOIN identities AS i ON e.account_id = i.account_id;

CREATE VIEW transactions AS
SELECT
    i."user" AS "userId",
    t.seq AS number,
    t.kind AS type,
    t.amount_nanocredits / 1000000000.0 AS credits,
    g.paid_picousd / 10000000000 AS "amountCents",
    t.reference,
    t.run_id AS "runId",
    t.at_us / 1000 AS "createdAt"
FROM transfers AS t
INNER JOIN identities AS i ON t.account_id = i.account_id
LEFT JOIN grants AS g ON t.account_id = g.account_id AND t.seq = g.grant_id;
