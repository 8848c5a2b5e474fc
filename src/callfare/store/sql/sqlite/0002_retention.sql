-- How far back rows of a kind are kept: those recorded before an instant may have been removed.

CREATE TABLE retention (
    kind TEXT PRIMARY KEY CHECK (kind IN ('raw_usage')),
    before_us INTEGER NOT NULL,
    set_at_us INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    CHECK (before_us <= set_at_us)
) STRICT, WITHOUT ROWID;
