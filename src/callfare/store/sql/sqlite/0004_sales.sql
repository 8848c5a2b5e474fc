-- Buying credits: orders, payments, and what a processor says.

-- Orders, as they were quoted before the processor heard of them.
CREATE TABLE orders (
    account_id INTEGER NOT NULL,
    order_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('package', 'plan')),
    product TEXT NOT NULL,
    nanocredits INTEGER NOT NULL CHECK (nanocredits > 0),
    lots_end TEXT NOT NULL CHECK (lots_end IN ('never', 'period')),
    currency TEXT NOT NULL,
    subtotal INTEGER NOT NULL CHECK (subtotal >= 0),
    edition TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    instance TEXT NOT NULL,
    request TEXT NOT NULL,
    attempt INTEGER NOT NULL CHECK (attempt > 0),
    state TEXT NOT NULL
    CHECK (state IN ('created', 'open', 'awaiting_payment', 'paid', 'failed', 'expired', 'quarantined')),
    version INTEGER NOT NULL CHECK (version > 0),
    customer TEXT,
    session TEXT,
    url TEXT,
    subscription TEXT,
    reason TEXT,
    created_at_us INTEGER NOT NULL,
    moved_at_us INTEGER NOT NULL,
    ends_at_us INTEGER,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, order_id)
) STRICT, WITHOUT ROWID;

-- Payments and what was granted for them: of an order, or of one line of a plan's invoice.
CREATE TABLE sales (
    account_id INTEGER NOT NULL,
    sale_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('purchase', 'plan')),
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    currency TEXT NOT NULL,
    invoice TEXT,
    payment TEXT,
    captured INTEGER NOT NULL CHECK (captured >= 0),
    reversed INTEGER NOT NULL CHECK (reversed BETWEEN 0 AND captured),
    dispute TEXT CHECK (dispute IN ('open', 'won', 'lost')),
    nanocredits INTEGER NOT NULL CHECK (nanocredits >= 0),
    taken_back_nanocredits INTEGER NOT NULL CHECK (taken_back_nanocredits BETWEEN 0 AND nanocredits),
    withheld_nanocredits INTEGER NOT NULL CHECK (withheld_nanocredits BETWEEN 0 AND nanocredits),
    grant_id INTEGER,
    version INTEGER NOT NULL CHECK (version > 0),
    created_at_us INTEGER NOT NULL,
    moved_at_us INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, sale_id),
    CHECK ((grant_id IS NULL) = (nanocredits = 0))
) STRICT, WITHOUT ROWID;

-- Whom the processor knows a user as, one row in each mode however many ask at once.
CREATE TABLE customers (
    account_id INTEGER NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    customer TEXT,
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    created_at_us INTEGER NOT NULL,
    moved_at_us INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, mode)
) STRICT, WITHOUT ROWID;

-- Plans as they stand at the processor; they say what somebody is entitled to and grant nothing.
CREATE TABLE subscriptions (
    account_id INTEGER NOT NULL,
    subscription TEXT NOT NULL,
    order_id TEXT NOT NULL,
    product TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    customer TEXT NOT NULL,
    status TEXT NOT NULL,
    is_ending INTEGER NOT NULL CHECK (is_ending IN (0, 1)),
    period_start_us INTEGER,
    period_end_us INTEGER,
    ended_at_us INTEGER,
    version INTEGER NOT NULL CHECK (version > 0),
    created_at_us INTEGER NOT NULL,
    moved_at_us INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, subscription)
) STRICT, WITHOUT ROWID;

-- Messages of the processor's, kept until their effect stands. Account 0 is the house.
CREATE TABLE inbox (
    account_id INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    object_id TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    api_version TEXT NOT NULL,
    said_at_us INTEGER NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'ignored')),
    attempts INTEGER NOT NULL CHECK (attempts >= 0),
    claimed_until_us INTEGER NOT NULL,
    reason TEXT,
    received_at_us INTEGER NOT NULL,
    settled_at_us INTEGER,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, message_id)
) STRICT;

-- Payments that fit no order, put aside for a person. Account 0 is the house.
CREATE TABLE quarantine (
    account_id INTEGER NOT NULL,
    item_id TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    owner_id INTEGER,
    reason TEXT NOT NULL,
    facts TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    claimed_at_us INTEGER,
    claimed_by TEXT,
    resolution TEXT,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, item_id),
    CHECK ((claimed_at_us IS NULL) = (claimed_by IS NULL))
) STRICT, WITHOUT ROWID;

-- Facts about this installation, such as the name that it stamps on what it makes. Account 0 is the house.
CREATE TABLE installation (
    account_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    set_at_us INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX unsettled_orders ON orders (account_id, order_id) WHERE state IN ('created', 'open', 'awaiting_payment');
CREATE INDEX sales_by_payment ON sales (payment) WHERE payment IS NOT NULL;
CREATE INDEX live_subscriptions ON subscriptions (account_id, subscription) WHERE ended_at_us IS NULL;
CREATE INDEX waiting_inbox ON inbox (account_id, claimed_until_us, message_id) WHERE state = 'waiting';

-- The user's plan stands beside their balance: the one that has not ended, else the latest.
DROP VIEW users;

CREATE VIEW users AS
SELECT
    i.user AS externalId,
    i.email AS email,
    i.stripe_customer_id AS stripeCustomerId,
    printf('%d.%09d', a.available / 1000000000, a.available % 1000000000) AS creditsBalance,
    s.subscription AS subscriptionId,
    s.product AS subscriptionPlan,
    s.status AS subscriptionStatus,
    s.period_end_us / 1000 AS subscriptionPeriodEnd
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
) AS a ON i.account_id = a.account_id
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
