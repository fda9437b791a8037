-- A model that lacks a part has no level. Columns cannot lose NOT NULL in SQLite, so a new one takes
-- the place of the old.

ALTER TABLE measurements ADD COLUMN whole_level BIGINT;
UPDATE measurements SET whole_level = level
WHERE
    self_awareness IS NOT NULL
    AND reasoning IS NOT NULL
    AND introspection IS NOT NULL
    AND coherence IS NOT NULL
    AND meta_cognition IS NOT NULL
    AND utilisation IS NOT NULL;
ALTER TABLE measurements DROP COLUMN level;
ALTER TABLE measurements RENAME COLUMN whole_level TO level;
