-- API keys, what they have granted, and who asked for what.

-- Of a key's secret there is a keyed digest only.
CREATE TABLE api_keys (
    key_id TEXT PRIMARY KEY,
    family TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    label TEXT NOT NULL,
    scopes TEXT NOT NULL,
    digest TEXT NOT NULL,
    pepper TEXT NOT NULL,
    user TEXT,
    networks TEXT,
    grant_cap_nanocredits INTEGER CHECK (grant_cap_nanocredits >= 0),
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER,
    revoked_at_us INTEGER,
    rolled_to TEXT,
    used_at_us INTEGER,
    seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the keys of a family have granted in one UTC day.
CREATE TABLE key_days (
    family TEXT NOT NULL,
    day_us INTEGER NOT NULL,
    granted_nanocredits INTEGER NOT NULL CHECK (granted_nanocredits >= 0),
    seal INTEGER NOT NULL,
    PRIMARY KEY (family, day_us)
) STRICT, WITHOUT ROWID;

-- Who asked for a write, kept in the same transaction as its effect. Account 0 is the house.
CREATE TABLE audit (
    account_id INTEGER NOT NULL,
    audit_id TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    principal TEXT NOT NULL,
    key_id TEXT,
    operation TEXT NOT NULL,
    object TEXT NOT NULL,
    request_key TEXT,
    request_id TEXT,
    state_before TEXT,
    state_after TEXT,
    seal INTEGER NOT NULL,
    PRIMARY KEY (account_id, audit_id)
) STRICT;

CREATE INDEX audit_by_id ON audit (audit_id);

CREATE TRIGGER audit_stay BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit rows are history');
END;

CREATE TRIGGER audit_last BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit rows are history');
END;
