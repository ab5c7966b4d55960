-- The runs that were started under an idempotency key. A key is kept as long as a run.
CREATE TABLE idempotency_keys (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    -- A hash of the request.
    digest BLOB NOT NULL,
    run BLOB NOT NULL,
    at_us INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (at_us);
