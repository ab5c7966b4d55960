-- Conversations. A session grows by whole exchanges; nothing in it is ever changed.
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    -- How many exchanges it has had: what a writer must have seen to add the next.
    version INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX sessions_by_use ON sessions (updated_ms);

-- What one request added.
CREATE TABLE exchanges (
    session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    -- The caller's name for the request. The same request is kept once, however often it is sent.
    key TEXT,
    first_message INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    -- Whether it begins with the user, so that a conversation can be shown from here on.
    is_start INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX exchanges_by_key ON exchanges (session, key) WHERE key IS NOT NULL;

CREATE TABLE messages (
    session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    role TEXT NOT NULL,
    -- A JSON array of parts; a large part is {"blob": its hash}.
    parts TEXT NOT NULL,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;

-- Large parts, each once, by the SHA-256 of its JSON.
CREATE TABLE blobs (
    hash BLOB PRIMARY KEY,
    content TEXT NOT NULL
) STRICT;

CREATE TABLE message_blobs (
    session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    hash BLOB NOT NULL REFERENCES blobs (hash),
    PRIMARY KEY (session, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX message_blobs_by_hash ON message_blobs (hash);
