-- API keys, what they have granted, and who asked for what.

-- Of a key's secret there is a keyed digest only.
CREATE TABLE api_keys (
    key_id TEXT COLLATE "C" PRIMARY KEY,
    family TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    label TEXT NOT NULL,
    scopes TEXT NOT NULL,
    digest TEXT NOT NULL,
    pepper TEXT NOT NULL,
    "user" TEXT,
    networks TEXT,
    grant_cap_nanocredits BIGINT CHECK (grant_cap_nanocredits >= 0),
    created_at_us BIGINT NOT NULL,
    expires_at_us BIGINT,
    revoked_at_us BIGINT,
    rolled_to TEXT,
    used_at_us BIGINT,
    seal BIGINT NOT NULL
);

-- What the keys of a family have granted in one UTC day.
CREATE TABLE key_days (
    family TEXT COLLATE "C" NOT NULL,
    day_us BIGINT NOT NULL,
    granted_nanocredits BIGINT NOT NULL CHECK (granted_nanocredits >= 0),
    seal BIGINT NOT NULL,
    PRIMARY KEY (family, day_us)
);

-- Who asked for a write, kept in the same transaction as its effect. Account 0 is the house.
CREATE TABLE audit (
    account_id BIGINT NOT NULL,
    audit_id TEXT COLLATE "C" NOT NULL,
    at_us BIGINT NOT NULL,
    principal TEXT NOT NULL,
    key_id TEXT,
    operation TEXT NOT NULL,
    object TEXT NOT NULL,
    request_key TEXT,
    request_id TEXT,
    state_before TEXT,
    state_after TEXT,
    seal BIGINT NOT NULL,
    PRIMARY KEY (account_id, audit_id)
);

CREATE INDEX audit_by_id ON audit (audit_id);

CREATE TRIGGER audit_stay BEFORE UPDATE OR DELETE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
