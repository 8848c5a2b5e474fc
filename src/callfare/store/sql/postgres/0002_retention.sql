-- How far back rows of a kind are kept: those recorded before an instant may have been removed.

CREATE TABLE retention (
    kind TEXT COLLATE "C" PRIMARY KEY CHECK (kind IN ('raw_usage')),
    before_us BIGINT NOT NULL,
    set_at_us BIGINT NOT NULL,
    seal BIGINT NOT NULL,
    CHECK (before_us <= set_at_us)
);
