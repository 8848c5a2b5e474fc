-- Buying credits: orders, payments, and what a processor says.

-- Orders, as they were quoted before the processor heard of them.
CREATE TABLE orders (
    account_id BIGINT NOT NULL,
    order_id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('package', 'plan')),
    product TEXT NOT NULL,
    nanocredits BIGINT NOT NULL CHECK (nanocredits > 0),
    lots_end TEXT NOT NULL CHECK (lots_end IN ('never', 'period')),
    currency TEXT NOT NULL,
    subtotal BIGINT NOT NULL CHECK (subtotal >= 0),
    edition TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    instance TEXT NOT NULL,
    request TEXT NOT NULL,
    attempt BIGINT NOT NULL CHECK (attempt > 0),
    state TEXT NOT NULL
    CHECK (state IN ('created', 'open', 'awaiting_payment', 'paid', 'failed', 'expired', 'quarantined')),
    version BIGINT NOT NULL CHECK (version > 0),
    customer TEXT,
    session TEXT,
    url TEXT,
    subscription TEXT,
    reason TEXT,
    created_at_us BIGINT NOT NULL,
    moved_at_us BIGINT NOT NULL,
    ends_at_us BIGINT,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, order_id)
);

-- Payments and what was granted for them: of an order, or of one line of a plan's invoice.
CREATE TABLE sales (
    account_id BIGINT NOT NULL,
    sale_id TEXT COLLATE "C" NOT NULL,
    order_id TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('purchase', 'plan')),
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    currency TEXT NOT NULL,
    invoice TEXT,
    payment TEXT,
    captured BIGINT NOT NULL CHECK (captured >= 0),
    reversed BIGINT NOT NULL CHECK (reversed BETWEEN 0 AND captured),
    dispute TEXT CHECK (dispute IN ('open', 'won', 'lost')),
    nanocredits BIGINT NOT NULL CHECK (nanocredits >= 0),
    taken_back_nanocredits BIGINT NOT NULL CHECK (taken_back_nanocredits BETWEEN 0 AND nanocredits),
    withheld_nanocredits BIGINT NOT NULL CHECK (withheld_nanocredits BETWEEN 0 AND nanocredits),
    grant_id BIGINT,
    version BIGINT NOT NULL CHECK (version > 0),
    created_at_us BIGINT NOT NULL,
    moved_at_us BIGINT NOT NULL,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, sale_id),
    CHECK ((grant_id IS NULL) = (nanocredits = 0))
);

-- Whom the processor knows a user as, one row in each mode however many ask at once.
CREATE TABLE customers (
    account_id BIGINT NOT NULL,
    mode TEXT COLLATE "C" NOT NULL CHECK (mode IN ('live', 'test')),
    customer TEXT,
    attempt BIGINT NOT NULL CHECK (attempt >= 0),
    created_at_us BIGINT NOT NULL,
    moved_at_us BIGINT NOT NULL,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, mode)
);

-- Plans as they stand at the processor; they say what somebody is entitled to and grant nothing.
CREATE TABLE subscriptions (
    account_id BIGINT NOT NULL,
    subscription TEXT COLLATE "C" NOT NULL,
    order_id TEXT NOT NULL,
    product TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    customer TEXT NOT NULL,
    status TEXT NOT NULL,
    is_ending BIGINT NOT NULL CHECK (is_ending IN (0, 1)),
    period_start_us BIGINT,
    period_end_us BIGINT,
    ended_at_us BIGINT,
    version BIGINT NOT NULL CHECK (version > 0),
    created_at_us BIGINT NOT NULL,
    moved_at_us BIGINT NOT NULL,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, subscription)
);

-- Messages of the processor's, kept until their effect stands. Account 0 is the house.
CREATE TABLE inbox (
    account_id BIGINT NOT NULL,
    message_id TEXT COLLATE "C" NOT NULL,
    event_type TEXT NOT NULL,
    object_id TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    api_version TEXT NOT NULL,
    said_at_us BIGINT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'ignored')),
    attempts BIGINT NOT NULL CHECK (attempts >= 0),
    claimed_until_us BIGINT NOT NULL,
    reason TEXT,
    received_at_us BIGINT NOT NULL,
    settled_at_us BIGINT,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, message_id)
);

-- Payments that fit no order, put aside for a person. Account 0 is the house.
CREATE TABLE quarantine (
    account_id BIGINT NOT NULL,
    item_id TEXT COLLATE "C" NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    owner_id BIGINT,
    reason TEXT NOT NULL,
    facts TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    claimed_at_us BIGINT,
    claimed_by TEXT,
    resolution TEXT,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, item_id),
    CHECK ((claimed_at_us IS NULL) = (claimed_by IS NULL))
);

-- Facts about this installation, such as the name that it stamps on what it makes. Account 0 is the house.
CREATE TABLE installation (
    account_id BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    value TEXT NOT NULL,
    set_at_us BIGINT NOT NULL,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, name)
);

CREATE INDEX unsettled_orders ON orders (account_id, order_id) WHERE state IN ('created', 'open', 'awaiting_payment');
CREATE INDEX sales_by_payment ON sales (payment) WHERE payment IS NOT NULL;
CREATE INDEX live_subscriptions ON subscriptions (account_id, subscription) WHERE ended_at_us IS NULL;
CREATE INDEX waiting_inbox ON inbox (account_id, claimed_until_us, message_id) WHERE state = 'waiting';

-- The user's plan stands beside their balance: the one that has not ended, else the latest.
DROP VIEW users;

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
    ), 0)) / 1000000000.0 AS "creditsBalance",
    s.subscription AS "subscriptionId",
    s.product AS "subscriptionPlan",
    s.status AS "subscriptionStatus",
    s.period_end_us / 1000 AS "subscriptionPeriodEnd"
FROM identities AS i
INNER JOIN accounts AS a ON i.account_id = a.account_id
LEFT JOIN subscriptions AS s
    ON
        i.account_id = s.account_id
        AND s.subscription = (
            SELECT l.subscription
            FROM subscriptions AS l
            WHERE l.account_id = i.account_id
            ORDER BY CASE WHEN l.ended_at_us IS NULL THEN 0 ELSE 1 END ASC, l.created_at_us DESC, l.subscription ASC
            LIMIT 1
        );
