-- Responses of `POST /v1/responses` that clients may read and continue.
CREATE TABLE responses (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run BLOB NOT NULL UNIQUE,
    account TEXT NOT NULL,
    -- The run of the response that it continues.
    previous BLOB,
    -- The body of the request, and the response as JSON.
    request TEXT NOT NULL,
    response TEXT NOT NULL,
    -- The messages that it adds to the conversation, as a JSON array. Absent until the run ends.
    messages TEXT,
    at_us INTEGER NOT NULL
) STRICT;

CREATE INDEX responses_by_age ON responses (at_us);
