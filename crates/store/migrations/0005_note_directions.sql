-- What the words of a note mean to an embedding model: where its vector points, as a signed byte for each dimension.
-- The key is the rowid, so that large rows lie in leaves only and notes that came together lie together.
CREATE TABLE note_directions (
    note INTEGER PRIMARY KEY REFERENCES notes (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    direction BLOB NOT NULL
) STRICT;

-- What is no vector of floats is left out: nothing could be compared with it before, either.
INSERT OR IGNORE INTO note_directions SELECT note, model, direction(vector) FROM note_vectors ORDER BY note;

DROP TABLE note_vectors;
