-- Long-term memory.
CREATE TABLE scopes (
    id INTEGER PRIMARY KEY,
    -- The scope as JSON, so that absent and empty names stay apart.
    name TEXT NOT NULL UNIQUE,
    -- How many notes it has; counting them takes as long as there are many.
    notes INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX scopes_empty ON scopes (id) WHERE notes = 0;

CREATE TABLE notes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    scope INTEGER NOT NULL REFERENCES scopes (id),
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    source TEXT NOT NULL,
    run BLOB,
    -- SHA-256 of the source and the words, however they are spaced and capitalised.
    digest BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    UNIQUE (scope, name),
    UNIQUE (scope, digest)
) STRICT;

CREATE INDEX notes_by_scope ON notes (scope, id);
CREATE INDEX notes_by_age ON notes (at_ms);

-- The words of each note, each with its scope before it: a search reads what is its own and nothing else, and how rare
-- a word is goes by its scope. They come split and in small letters; this tokenizer leaves other alphabets alone.
CREATE VIRTUAL TABLE notes_words USING fts5 (
    words, content = '', tokenize = 'ascii'
);

-- Deleted words leave no trace in the index.
INSERT INTO notes_words (notes_words, rank) VALUES ('secure-delete', 1);

-- What the words mean to an embedding model: a vector of length one, 32-bit floats, little endian.
CREATE TABLE note_vectors (
    note INTEGER NOT NULL REFERENCES notes (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (note, model)
) STRICT, WITHOUT ROWID;
